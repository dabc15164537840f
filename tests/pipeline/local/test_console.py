import contextlib
import logging
import os
import signal
import time
import warnings

import pytest
from ml_metadata.proto import metadata_store_pb2

from pipeline.local import console
from pipeline.local.console import quiet_but_logged, remember_ctrl_c, say


def test_logs_go_to_the_file_and_progress_to_the_terminal(tmp_path, capfd):
    loggers = [logging.getLogger(name) for name in (None, "absl", "detector")]
    before = [(logger.handlers[:], logger.level) for logger in loggers]
    filters = warnings.filters[:]
    with quiet_but_logged(tmp_path / "run.log"):
        say("Trainer ...")
        logging.getLogger("detector").info("step 5")
        logging.getLogger("tfx").info("chatter")
        warnings.warn("unheard", stacklevel=1)
        os.write(2, b"native chatter\n")
    assert [(logger.handlers, logger.level) for logger in loggers] == before
    assert warnings.filters == filters
    os.write(2, b"afterwards\n")
    out, err = capfd.readouterr()
    assert out == "Trainer ...\n  step 5\n"
    assert err == "afterwards\n"
    log = (tmp_path / "run.log").read_text()
    for line in ("INFO tfx: chatter", "INFO detector: step 5", "native chatter"):
        assert line in log


def test_passwords_are_not_logged(tmp_path):
    """TFX logs the connection to ML Metadata, as one of its text protos."""
    config = metadata_store_pb2.ConnectionConfig()
    config.mysql.user, config.mysql.password = "me", 'hush "and" \\ hush'
    with quiet_but_logged(tmp_path / "run.log"):
        logging.getLogger("absl").info("Using connection config:\n %s", config)
    log = (tmp_path / "run.log").read_text()
    assert 'user: "me"' in log
    assert 'password: "***"' in log
    assert "hush" not in log


@pytest.fixture
def python_takes_ctrl_c():
    """It may be ignored, as shells do for processes in the background."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, signal.default_int_handler) for number in numbers]
    yield
    for number, handler in zip(numbers, previous, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_ctrl_c_that_a_library_swallows_counts(python_takes_ctrl_c, number):
    steps = []

    def import_with_a_swallowed_interrupt():
        with remember_ctrl_c():
            try:
                signal.raise_signal(number)
                steps.append("not interrupted")
            except BaseException:
                steps.append("swallowed")
            steps.append("imported")

    with pytest.raises(KeyboardInterrupt):
        import_with_a_swallowed_interrupt()
    assert steps == ["swallowed", "imported"]
    assert signal.getsignal(number) is signal.default_int_handler


def test_a_swallowed_ctrl_c_is_raised_at_the_next_check(python_takes_ctrl_c):
    steps = []

    def run():
        with remember_ctrl_c() as check:
            for step in ("first", "second"):
                check()
                steps.append(step)
                with contextlib.suppress(BaseException):
                    signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert steps == ["first"]


def test_a_ctrl_c_that_a_library_swallows_is_repeated(python_takes_ctrl_c, monkeypatch):
    """Garbage collection calls functions of JAX's, and whatever these raise is ignored."""
    monkeypatch.setattr(console, "_REPEAT_SECONDS", 0.01)
    steps = []

    def train():
        with remember_ctrl_c():
            with contextlib.suppress(BaseException):
                signal.raise_signal(signal.SIGTERM)
            time.sleep(20)
            steps.append("trained to the end")

    with pytest.raises(KeyboardInterrupt):
        train()
    assert not steps


def test_a_ctrl_c_that_a_library_turns_into_another_error_counts(python_takes_ctrl_c):
    def run():
        with remember_ctrl_c():
            try:
                signal.raise_signal(signal.SIGINT)
            except BaseException:
                raise RuntimeError("the callback failed") from None

    with pytest.raises(KeyboardInterrupt):
        run()


def test_another_handler_of_ctrl_c_is_left_alone(python_takes_ctrl_c):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with remember_ctrl_c():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
