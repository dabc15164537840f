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
_POLL_SECONDS = 0.01


class Ended(NamedTuple):
    """How a run ended: exit code (negative: the signal), its output, and its seconds."""

    code: int
    output: str
    seconds: float


class Stop(NamedTuple):
    """A signal, so many seconds after the output says that a component runs."""

    signal: signal.Signals
    component: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.signal.name} {self.seconds:.2f} s into {self.component}"


def run(
    arguments: list[str],
    log: Path,
    *,
    stop: Stop | None = None,
    largest_file: int | None = None,
) -> Ended:
    """Runs `local_runner.py`.

    Args:
      arguments: its command line.
      log: takes its output.
      stop: when it gets a signal, and which; None lets it run to its end.
      largest_file: bytes; writing beyond fails, as on a full disk.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    process = context.Process(target=_run, args=(arguments, str(log), largest_file))
    started = time.monotonic()
    process.start()
    if stop:
        _wait_for(f"{stop.component} ...\n", log, process)
        process.join(stop.seconds)
        _send(process, stop.signal)
    process.join(_SECONDS)
    _send(process, signal.SIGKILL)
    process.join()
    return Ended(process.exitcode, log.read_text(errors="replace"), time.monotonic() - started)


def _wait_for(line: str, log: Path, process: multiprocessing.process.BaseProcess) -> None:
    end = time.monotonic() + _SECONDS
    while process.is_alive() and time.monotonic() < end:
        if log.exists() and line in log.read_text(errors="replace"):
            return
        time.sleep(_POLL_SECONDS)


def _send(process: multiprocessing.process.BaseProcess, what: signal.Signals) -> None:
    if process.is_alive():
        os.kill(process.pid, what)


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
