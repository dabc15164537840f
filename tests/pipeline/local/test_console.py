import contextlib
import logging
import os
import signal

import pytest
from ml_metadata.proto import metadata_store_pb2

from pipeline.local.console import insist_on_ctrl_c, quiet_but_logged


def test_logs_go_to_the_file_and_the_essentials_to_the_console(tmp_path, capfd):
    before = logging.getLogger().handlers[:]
    with quiet_but_logged(tmp_path / "run.log") as console:
        logging.getLogger("tfx").info("Component Trainer is running.")
        logging.getLogger("detector").info("step 5")
        logging.getLogger("tfx").info("chatter")
        os.write(2, b"native chatter\n")
        assert console.ran
    assert logging.getLogger().handlers == before
    os.write(2, b"afterwards\n")
    out, err = capfd.readouterr()
    assert out == "Trainer ...\n  step 5\n"
    assert err == "afterwards\n"
    log = (tmp_path / "run.log").read_text()
    assert "chatter" in log
    assert "native chatter" in log


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
    """Whoever runs the tests may ignore it, as shells do for what is in the background."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def test_a_ctrl_c_that_a_library_swallows_counts(python_takes_ctrl_c):
    steps = []

    def import_with_a_swallowed_interrupt():
        with insist_on_ctrl_c():
            try:
                signal.raise_signal(signal.SIGINT)
                steps.append("not interrupted")
            except BaseException:
                steps.append("swallowed")
            steps.append("imported")

    with pytest.raises(KeyboardInterrupt):
        import_with_a_swallowed_interrupt()
    assert steps == ["swallowed", "imported"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_swallowed_ctrl_c_stops_the_run_before_the_next_component(
    python_takes_ctrl_c, tmp_path, capsys
):
    log = logging.getLogger("absl")

    def run():
        with quiet_but_logged(tmp_path / "run.log") as console, insist_on_ctrl_c() as check:
            console.between_components = check
            log.info("Component ExampleGen is running.")
            with contextlib.suppress(BaseException):
                signal.raise_signal(signal.SIGINT)
            log.info("Component ExampleGen is finished.")
            log.info("Component Transform is running.")

    with pytest.raises(KeyboardInterrupt):
        run()
    assert capsys.readouterr().out == "ExampleGen ...\nExampleGen: 0.0 s\n"


def test_a_ctrl_c_that_a_library_turns_into_another_error_counts(python_takes_ctrl_c):
    def run():
        with insist_on_ctrl_c():
            try:
                signal.raise_signal(signal.SIGINT)
            except BaseException:
                raise RuntimeError("the callback failed") from None

    with pytest.raises(KeyboardInterrupt):
        run()


def test_another_handler_of_ctrl_c_is_left_alone(python_takes_ctrl_c):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with insist_on_ctrl_c():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
