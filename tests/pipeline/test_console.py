import logging
import os

from pipeline.console import quiet_but_logged


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
