"""A file in a process of its own: its memory is told from others', and its crash ends only itself.

Imports neither TensorFlow nor Keras, whose memory would be counted as the file's.
"""

import contextlib
import multiprocessing
import os
import re
import signal
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from pipeline.errors import UserError, one_line

_TIME, _RUN, _PEAK = "time", "run", "peak"
# Untimed inferences at the start of each turn: the turns of other files have emptied the caches.
_WARM_UP = 2


def open_file(path: str, threads: int, xnnpack: bool) -> Interpreter:
    """A file in LiteRT's interpreter, whose convolutions XNNPACK takes over, or TFLite's kernels.

    Raises:
      ValueError, RuntimeError: the runtime does not take the file.
    """
    interpreter = Interpreter(
        model_path=path,
        num_threads=threads,
        experimental_op_resolver_type=(
            OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        ),
    )
    interpreter.allocate_tensors()
    return interpreter


class Worker:
    """A file, opened in another process.

    Args:
      path: of a .tflite file.
      outputs: indices of the tensors to read.
      pictures: for `time`, each as the file takes it, [1, S, S, 3].
      threads: of the interpreter.
      xnnpack: see `open_file`.

    Raises:
      UserError: the runtime does not take the file; `time` and `run` likewise.
    """

    def __init__(
        self,
        path: Path,
        outputs: Sequence[int],
        pictures: Sequence[np.ndarray],
        threads: int = 1,
        xnnpack: bool = True,
    ):
        self._path = path
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(
            target=_serve,
            args=(other, str(path), tuple(outputs), threads, xnnpack),
            daemon=True,
        )
        self._process.start()
        other.close()
        try:
            # Not as an argument: `start` would wait forever for a process that is gone to read it.
            self._ask(*pictures)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process."""
        self._connection.close()
        self._process.terminate()
        self._process.join()

    def time(self, runs: int) -> list[float]:
        """Milliseconds of so many inferences, after a few that are not timed."""
        return self._ask(_TIME, runs)

    def run(self, picture: np.ndarray) -> list[np.ndarray]:
        """The outputs for a picture, [1, S, S, 3] as the file takes it."""
        return self._ask(_RUN, picture)

    def peak_bytes(self) -> int | None:
        """Memory that opening and running the file has taken at most; None if nobody can tell."""
        return self._ask(_PEAK, None)

    def _ask(self, *question):
        try:
            self._connection.send(question)
        except OSError as error:
            raise self._crashed() from error
        return self._answer()

    def _answer(self):
        try:
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._crashed() from error
        if isinstance(answer, Exception):
            raise UserError(
                f"Expected a file that runs. Received: {self._path}, at which the runtime says: "
                f"{one_line(answer)}"
            )
        return answer

    def _crashed(self) -> UserError:
        self._process.join()
        code = self._process.exitcode or 0
        with contextlib.suppress(ValueError):
            code = signal.Signals(-code).name
        return UserError(
            f"Expected a file that runs. Received: {self._path}, at which the runtime crashed "
            f"({code})."
        )


def _serve(
    connection: Connection,
    path: str,
    outputs: Sequence[int],
    threads: int,
    xnnpack: bool,
) -> None:
    """Receives pictures to time with, then answers until the other side is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the runtime tells of XNNPACK each time
    try:
        pictures = connection.recv()
        before = _reset_peak()
        interpreter = open_file(path, threads, xnnpack)
        taken = interpreter.get_input_details()[0]["index"]

        def infer(picture: np.ndarray) -> list[np.ndarray]:
            interpreter.set_tensor(taken, picture)
            interpreter.invoke()
            return [interpreter.get_tensor(index) for index in outputs]

        connection.send(None)
        turn = 0
        while True:
            kind, value = connection.recv()
            if kind == _RUN:
                connection.send(infer(value))
            elif kind == _PEAK:
                peak = _memory("VmHWM")
                connection.send(None if peak is None or before is None else peak - before)
            else:
                times = []
                for number in range(_WARM_UP + value):
                    picture = pictures[turn % len(pictures)]
                    start = time.perf_counter()
                    infer(picture)
                    times.append(1000 * (time.perf_counter() - start))
                    turn += number >= _WARM_UP
                connection.send(times[_WARM_UP:])
    except (EOFError, KeyboardInterrupt):
        pass
    except Exception as error:  # whatever the runtime says of the file
        connection.send(RuntimeError(one_line(error)))


def _reset_peak() -> int | None:
    """Forgets the peak of the imports; returns the memory in use, in bytes."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(name: str) -> int | None:
    """A line of the process's status in bytes; None where the system has no such file."""
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.M)
    except OSError:
        return None
    return 1024 * int(found[1]) if found else None
