import os
import time

import pytest

from pipeline.vertex.rehearsal import process, tasks
from pipeline.vertex.rehearsal.process import run_module

# Prints what it is given, leaves a trace in os, and exits with the last argument.
PROGRAM = """
import os, sys
threads = len(os.listdir("/proc/self/task"))
print(__name__, sys.argv[1:], sorted(os.environ), os.getcwd(), threads, hasattr(os, "trace"))
print("tfx.v1" in sys.modules, [name for name in sys.modules if name.startswith("models")])
print("to the log", file=sys.stderr)
os.trace = True
sys.exit(int(sys.argv[-1]))
"""


def test_programs_run_apart_from_each_other_with_tfx_loaded(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    log = tmp_path / "log"
    codes = [run_module("program", ["x", code], {"A": "1"}, tmp_path, log) for code in ("3", "0")]
    assert codes == [3, 0]
    folder = os.path.realpath(tmp_path)
    received = [
        # One thread: a fork of a process with more could wait for a lock forever.
        f"__main__ {['x', code]} ['A'] {folder} 1 False\nTrue []\nto the log\n"
        for code in ("3", "0")
    ]
    assert log.read_text() == "".join(received)


def test_a_program_leaves_its_temporary_files_where_it_is_told(tmp_path):
    (tmp_path / "leaving.py").write_text("import tempfile; tempfile.mkdtemp(prefix='left')")
    (tmp_path / "temporary").mkdir()
    environment = {"TMPDIR": str(tmp_path / "temporary")}
    assert run_module("leaving", [], environment, tmp_path, tmp_path / "log") == 0
    assert [path.name[:4] for path in (tmp_path / "temporary").iterdir()] == ["left"]


def test_a_task_knows_where_libraries_keep_their_caches(tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(tasks, "run_module", lambda *arguments: given.update(arguments[2]) or 0)
    tasks._run(["python", "-m", "any"], "", "Any", tmp_path / "log")
    for name in ("TMPDIR", "KERAS_HOME", "MPLCONFIGDIR"):
        assert given[name] == os.environ[name]


def test_a_program_that_raises_fails_with_its_traceback_in_the_log(tmp_path):
    (tmp_path / "failing.py").write_text("raise ValueError('what went wrong')")
    assert run_module("failing", [], {}, tmp_path, tmp_path / "log") == 1
    assert "ValueError: what went wrong" in (tmp_path / "log").read_text()


def test_an_interrupt_ends_the_program_that_runs(tmp_path, monkeypatch):
    (tmp_path / "sleeping.py").write_text(
        "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    )
    log = tmp_path / "log"

    def interrupted(self):
        while not (log.exists() and log.read_text().endswith("\n")):
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(process._SERVER.Process, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_module("sleeping", [], {}, tmp_path, log)
    attempts = 2000
    while attempts and os.path.exists(f"/proc/{int(log.read_text())}"):
        attempts -= 1
        time.sleep(0.01)
    assert attempts
