"""Runs `python -m MODULE ...` in a process of its own that has TFX already loaded.

Loading TFX takes 15 s, and a rehearsal runs a dozen commands. Python's fork server loads TFX once,
and nothing of this project; each command is a fork of that server, so no command sees what another
one has done. Forking is safe because loading TFX starts no threads; a test checks that.
"""

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing import forkserver
from pathlib import Path

_PRELOADED = (
    "tfx.v1",
    "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_entrypoint_utils",
)
_SERVER = multiprocessing.get_context("forkserver")


def start_loading() -> None:
    """Starts the server, which loads TFX while the caller does something else."""
    _SERVER.set_forkserver_preload(list(_PRELOADED))
    forkserver.ensure_running()


def run_module(
    module: str, arguments: list[str], environment: Mapping[str, str], folder: Path, log: Path
) -> int:
    """Runs a module as a program, to its end.

    Args:
      module: its name.
      arguments: of the program.
      environment: its only environment variables.
      folder: its working directory, where it also looks for modules.
      log: what the program prints is appended to it.

    Returns:
      The exit code.
    """
    start_loading()
    process = _SERVER.Process(
        target=_run, args=(module, arguments, dict(environment), str(folder), str(log))
    )
    process.start()
    try:
        process.join()
    except BaseException:  # Ctrl-C or SIGTERM, which reach only this process
        process.terminate()
        raise
    return process.exitcode


def _run(
    module: str, arguments: list[str], environment: dict[str, str], folder: str, log: str
) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, sys.stdout.fileno())
    os.dup2(file, sys.stderr.fileno())
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # the server may have looked TMPDIR up
    os.chdir(folder)
    sys.path.insert(0, folder)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
