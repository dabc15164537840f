"""What a run shows while it is under way, and the log file that gets everything else."""

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

_STARTED = re.compile(r"Component (\S+) is running\.")
_FINISHED = re.compile(r"Component (\S+) is finished\.")
# TFX logs how it connects to ML Metadata, as text protos.
_PASSWORD = re.compile(r'(\bpassword: )"(?:\\.|[^"\\])*"')


class Console(logging.Handler):
    """Shows the components as they come and go, and what they say, on standard output.

    Attributes:
      ran: whether a component has started.
      between_components: called before and after each component; what it raises stops the run.
    """

    def __init__(self):
        super().__init__()
        self.ran = False
        self.between_components: Callable[[], None] = lambda: None
        self._started = 0.0

    def say(self, line: str) -> None:
        """Prints a line at once."""
        print(line, flush=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Picks what a person wants to see from TFX's log and from our own."""
        message = record.getMessage()
        if record.name == "detector":
            self.say(f"  {message}")
        elif match := _STARTED.match(message):
            self.between_components()
            self.ran = True
            self._started = time.monotonic()
            self.say(f"{match[1]} ...")
        elif match := _FINISHED.match(message):
            self.say(f"{match[1]}: {time.monotonic() - self._started:.1f} s")
            self.between_components()


class _WithoutPasswords(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _PASSWORD.sub(r'\1"***"', super().format(record))


@contextlib.contextmanager
def quiet_but_logged(path: Path) -> Iterator[Console]:
    """Sends all logs, warnings and native chatter to a file; the console gets the essentials."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    warnings.simplefilter("ignore")
    console = Console()
    root = logging.getLogger()
    sys.stderr.flush()
    original = os.dup(2)
    with open(path, "a") as file:
        handler = logging.StreamHandler(file)
        handler.setFormatter(_WithoutPasswords("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        previous = root.handlers[:]
        root.handlers = [handler, console]
        for name in (None, "absl", "detector"):
            logging.getLogger(name).setLevel(logging.INFO)
        os.dup2(file.fileno(), 2)
        try:
            yield console
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            root.handlers = previous


@contextlib.contextmanager
def without_native_chatter() -> Iterator[None]:
    """Drops what libraries print from C++; what went wrong they also raise."""
    sys.stderr.flush()
    original, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(original, 2)
        os.close(original)
        os.close(nowhere)


@contextlib.contextmanager
def insist_on_ctrl_c() -> Iterator[Callable[[], None]]:
    """Raises KeyboardInterrupt in the end if somebody swallowed it.

    Libraries do, in imports and callbacks from C++. Does nothing where another handler than
    Python's own takes Ctrl-C, or outside of the main thread.

    Yields:
      A check for the moments between two steps; it raises a KeyboardInterrupt that was swallowed.
    """
    pressed = False

    def remember(number, frame):
        nonlocal pressed
        pressed = True
        signal.default_int_handler(number, frame)

    def check():
        if pressed:
            raise KeyboardInterrupt

    if (
        signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        or threading.current_thread() is not threading.main_thread()
    ):
        yield check
        return
    signal.signal(signal.SIGINT, remember)
    try:
        yield check
    except Exception as error:
        if pressed:  # somebody made another error of it
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    check()
