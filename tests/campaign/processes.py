"""Runs of the local runner in processes of their own, which may be killed."""

import multiprocessing
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

# The server imports these once; each run is a fork of it and starts in no time.
_PRELOADED = ["tests.campaign.preloaded"]
_SECONDS = 300


class Ended(NamedTuple):
    """How a run ended: exit code (negative: the signal), its output, and its seconds."""

    code: int
    output: str
    seconds: float


def run(
    arguments: list[str],
    log: Path,
    *,
    kill_after: float | None = None,
    kill_with: signal.Signals = signal.SIGKILL,
    largest_file: int | None = None,
) -> Ended:
    """Runs `local_runner.py`.

    Args:
      arguments: its command line.
      log: takes its output.
      kill_after: seconds after which it gets a signal.
      kill_with: the signal.
      largest_file: bytes; writing beyond fails, as on a full disk.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    process = context.Process(target=_run, args=(arguments, str(log), largest_file))
    started = time.monotonic()
    process.start()
    process.join(_SECONDS if kill_after is None else kill_after)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL if kill_after is None else kill_with)
        process.join(_SECONDS)
    return Ended(process.exitcode, log.read_text(errors="replace"), time.monotonic() - started)


def _run(arguments: list[str], log: str, largest_file: int | None) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if largest_file is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    import local_runner
    from tests.pipeline.lineage.small_runs import train_without_tracing

    train_without_tracing()
    code = local_runner.main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # TensorFlow's threads, if any, are not waited for
