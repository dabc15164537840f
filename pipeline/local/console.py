"""The terminal of a run: what it shows, the log file for everything else, and Ctrl-C."""

import contextlib
import logging
import os
import re
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import logging as absl_logging

# TFX logs how it connects to ML Metadata, as text protos.
_PASSWORD = re.compile(r'(\bpassword: )"(?:\\.|[^"\\])*"')
# Our own progress, which the terminal shows; everybody's logs go to the file.
_PROGRESS = "detector"
_REPEAT_SECONDS = 5.0


def say(line: str) -> None:
    """Prints a line at once."""
    print(line, flush=True)


@contextlib.contextmanager
def timed(component: str) -> Iterator[None]:
    """Shows that a component runs, and how long it took."""
    started = time.monotonic()
    say(f"{component} ...")
    yield
    say(f"{component}: {time.monotonic() - started:.1f} s")


class _WithoutPasswords(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _PASSWORD.sub(r'\1"***"', super().format(record))


@contextlib.contextmanager
def quiet_but_logged(path: Path) -> Iterator[None]:
    """Sends logs, warnings and native output to a file; only our progress reaches the terminal."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    loggers = [logging.getLogger(name) for name in (None, "absl", _PROGRESS)]
    before = [(logger.handlers[:], logger.level) for logger in loggers]
    sys.stderr.flush()
    terminal = os.dup(2)
    with open(path, "a") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # absl would otherwise add its own handler to the root logger at its first message.
        absl_logging.use_absl_handler()
        absl_logging.set_verbosity(absl_logging.INFO)
        to_file = logging.StreamHandler(file)
        to_file.setFormatter(_WithoutPasswords("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        to_terminal = logging.StreamHandler(sys.stdout)
        to_terminal.setFormatter(logging.Formatter("  %(message)s"))
        loggers[0].handlers = [to_file]
        loggers[-1].handlers = [to_terminal]
        for logger in loggers:
            logger.setLevel(logging.INFO)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            for logger, (handlers, level) in zip(loggers, before, strict=True):
                logger.handlers = handlers
                logger.setLevel(level)


@contextlib.contextmanager
def remember_ctrl_c() -> Iterator[Callable[[], None]]:
    """Makes every Ctrl-C count: libraries swallow it in imports and in callbacks from C++.

    The same for SIGTERM, if its handler raises KeyboardInterrupt. The signal is repeated every few
    seconds until the context ends: a training that swallowed it would go on to its end.

    Yields:
      A check to call between two steps: raises the KeyboardInterrupt that was swallowed.

    Raises:
      KeyboardInterrupt: at the end, when Ctrl-C was pressed, also in place of the error that a
        library made of it.
    """
    pressed = False
    ended = threading.Event()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # SIGINT is ignored in the background of a shell.
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}

    def repeat(number):
        while not ended.wait(_REPEAT_SECONDS):
            os.kill(os.getpid(), number)

    def handle(number, frame):
        nonlocal pressed
        if not pressed:
            pressed = True
            threading.Thread(target=repeat, args=(number,), daemon=True).start()
        handlers[number](number, frame)

    def check():
        if pressed:
            raise KeyboardInterrupt

    for number in handlers:
        signal.signal(number, handle)
    try:
        yield check
    except Exception:
        check()  # what Ctrl-C broke may have raised anything
        raise
    finally:
        ended.set()
        for number, handler in handlers.items():
            signal.signal(number, handler)
    check()
