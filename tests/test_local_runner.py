"""The command line, up to the start of the first component."""

import json
import os
import signal
import subprocess
import sys

import pytest

import local_runner
from pipeline.fingerprint import ROOT
from pipeline.local.workdir import Workdir
from tests.pipeline.data_samples import VocFolder


@pytest.fixture
def run(capfd):
    """Runs the command line in this process."""

    def run_main(*arguments):
        try:
            code = local_runner.main([str(argument) for argument in arguments])
        except SystemExit as error:  # argparse
            code = error.code
        return subprocess.CompletedProcess(arguments, code, *capfd.readouterr())

    return run_main


def assert_one_line(result, code, *parts):
    """Asserts a one-line error: no trace, and nothing else on standard error."""
    assert result.returncode == code, result.stderr[-2000:]
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for part in parts:
        assert part in result.stderr


@pytest.mark.parametrize("flag", ["--help", "--list-presets", "--list-settings"])
def test_help_and_lists_load_neither_tensorflow_nor_tfx(flag):
    program = (
        "import sys, local_runner\n"
        "try: code = local_runner.main(sys.argv[1:])\n"
        "except SystemExit as error: code = error.code\n"
        "heavy = {'tensorflow', 'keras', 'tfx', 'apache_beam', 'ml_metadata'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else code)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, flag], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    expected = {
        "--help": "--warm-start",
        "--list-presets": "demo\n",
        "--list-settings": "training.steps=",
    }
    assert expected[flag] in result.stdout


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--preset", "nonsense"], ["'nonsense'", "demo", "small_data_cpu"]),
        (["--set", "training.stepz=3"], ["'training.stepz'", "training.steps"]),
        (["--set", "training.steps=many"], ["training.steps", "'many'"]),
        (["--set", "training.steps"], ["--set section.key=value"]),
        (["--train", "here"], ["data.train and data.eval go together"]),
        (["--set", "execution.state_dir=x"], ["execution.state_dir", "the runner fills in"]),
        (["--set", "evaluation.min_map50=0"], ["evaluation.min_map50", "greater than 0"]),
        (["--minutes", "soon"], ["training.minutes", "'soon'"]),
        (["--minutes", "-1"], ["training.minutes", "greater than or equal to 0"]),
        (["--minutes", "1.5"], ["training.minutes (1.5) must be at least 2"]),
        (
            ["--minutes", "9", "--set", "training.steps=5", "training.eval_every=5"],
            ["--minutes (training.minutes) finds training.steps, training.eval_every itself"],
        ),
        (
            ["--set", "training.minutes=9", "training.quantization_delay=5"],
            ["finds training.quantization_delay itself"],
        ),
    ],
)
def test_a_wrong_setting_gives_one_line_and_exit_code_2(run, arguments, parts):
    assert_one_line(run(*arguments), 2, *parts)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ([], "demo"),
        (["--data", "sets/Bees_2"], "bees-2"),
        (["--data", "sets/Bees_2", "--preset", "demo"], "bees-2"),
        (["--train", "bees/a", "--eval", "bees/b"], "bees"),
        (["--data", "sets/My Bees (2024) v1.2/"], "my-bees-2024-v1-2"),
        (["--data", "gs://bucket/Pets_3"], "pets-3"),
        (["--data", "downloads/Pets 3.tar.gz"], "pets-3"),
        (["--data", "sets/bees-{SPAN}"], "sets"),
        (["--data", "bees/*.record", "--format", "tfrecord"], "bees"),
        (["--data", "sets/bees.record.gz", "--format", "tfrecord"], "bees"),
        (["--data", "sets/bees.record.gz"], "bees"),
        (["--data", "sets/bees/data.yaml"], "bees"),
        (["--data", "sets/bees/annotations/all.json"], "bees"),
        (["--data", "bees", "--train", "a.txt", "--eval", "b.txt"], "bees"),
        (["--data", "sets/" + "x" * 80], "x" * 50),
        (["--data", "sets/蜜蜂"], "detector"),
        (["--set", "data.path=bees"], "bees"),
        (["--data", "sets/Bees_2", "--set", "name=mine"], "mine"),
        (["--set", "data.path=bees", "name=mine", "--preset", "demo"], "mine"),
    ],
)
def test_the_data_set_names_the_pipeline(arguments, name):
    config = local_runner.make_config(local_runner.parse_arguments(arguments))
    assert config.name == name
    assert bool(config.schema_dir) == (name == "demo")


@pytest.mark.parametrize("arguments", [["--frobnicate"], ["--format", "csv"], ["--pre", "demo"]])
def test_a_wrong_flag_gives_exit_code_2(run, arguments):
    result = run(*arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_the_run_refuses_to_start_without_a_threshold(run, tmp_path):
    result = run("--workdir", tmp_path, "--set", "evaluation.min_map50=null")
    assert_one_line(result, 2, "threshold", "--set evaluation.min_map50=0.8")
    assert not (tmp_path / "runs").exists()


def test_a_workdir_that_is_a_file_gives_one_line(run, tmp_path):
    (tmp_path / "file").write_text("")
    assert_one_line(run("--workdir", tmp_path / "file"), 1, "--workdir", str(tmp_path / "file"))


def test_a_missing_warm_start_gives_one_line(run, tmp_path):
    result = run("--workdir", tmp_path, "--warm-start", "nowhere.h5", "--data", tmp_path)
    assert_one_line(result, 1, "--warm-start", "nowhere.h5")


@pytest.mark.parametrize("content", [b"not a database", b"SQLite format 3\0" + b"x" * 200])
def test_a_file_that_is_not_a_metadata_store_gives_one_line(run, tmp_path, content):
    (tmp_path / "m.sqlite").write_bytes(content)
    result = run(
        "--workdir", tmp_path / "w", "--data", tmp_path, "--metadata", tmp_path / "m.sqlite"
    )
    assert_one_line(result, 1, "m.sqlite")


def test_an_unreachable_metadata_server_gives_one_line(run, tmp_path):
    result = run("--workdir", tmp_path, "--data", tmp_path, "--metadata", "mysql://u@127.0.0.1:1/d")
    assert_one_line(result, 1, "mysql://u@127.0.0.1:1/d")


def test_a_pipeline_root_of_another_store_gives_one_line(run, tmp_path):
    root = tmp_path / "pipeline_root"
    root.mkdir()
    (root / "metadata_store").write_text("another\n")
    result = run("--workdir", tmp_path, "--data", tmp_path)
    assert_one_line(result, 1, "(another)", "--metadata")


def test_a_second_run_in_a_workdir_is_kept_out(run, tmp_path):
    program = (
        "import sys, time; from pipeline.local.workdir import Workdir\n"
        "with Workdir(sys.argv[1]).lock(): print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
    ) as holder:
        try:
            holder.stdout.readline()
            result = run("--workdir", tmp_path, "--data", tmp_path)
        finally:
            holder.send_signal(signal.SIGKILL)
    assert_one_line(result, 1, "Another run is using", str(tmp_path))


@pytest.mark.parametrize("kind", ["voc", "tfrecord"])
def test_missing_data_gives_one_line_and_the_trace_is_in_the_log(run, tmp_path, kind):
    result = run("--workdir", tmp_path, "--data", "/nowhere/data", "--format", kind)
    assert_one_line(result, 1, "/nowhere/data")
    summary = json.loads((tmp_path / "latest_run" / "summary.json").read_text())
    assert summary["status"] == "failed"
    assert "/nowhere/data" in summary["error"]
    page = (tmp_path / "latest_run" / "report.html").read_text()
    assert "The run failed: " in page
    assert "/nowhere/data" in page
    assert "Traceback" in (tmp_path / "latest_run" / "run.log").read_text()


def test_a_missing_schema_gives_one_line(run, tmp_path):
    result = run("--workdir", tmp_path / "w", "--data", tmp_path, "--schema", "nowhere")
    assert_one_line(result, 1, "schema.pbtxt", "nowhere")


LOCAL = ["local_runner.py", "--workdir", "/nowhere/at/all"]
REHEARSAL = ["vertex_runner.py", "rehearse", "--folder", "/nowhere/at/all"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("command", "module", "hint"),
    [
        *((LOCAL, name, "") for name in ("typing", "pydantic", "pipeline.presets")),
        (LOCAL, "pipeline.local.run", ": run the same command again to resume"),
        *((REHEARSAL, name, "") for name in ("typing", "pydantic")),
        (REHEARSAL, "pipeline.vertex.commands", "; a submitted run continues"),
    ],
)
def test_a_signal_while_modules_are_imported_shows_no_trace(command, module, hint, number):
    program = (
        # Newer Pythons import typing when runpy imports pkgutil.
        "import os, pkgutil, runpy, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Importing:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Importing())\n"
        f"sys.modules.pop({module!r}, None)\n"
        f"sys.path.insert(0, '.'); sys.argv = {command}\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if number == signal.SIGTERM and not hint:
        assert (result.returncode, result.stderr) == (-signal.SIGTERM, "")
        return
    assert result.returncode == 130
    assert result.stderr == f"interrupted{hint}\n"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_give_one_line_and_exit_code_130(tmp_path, number):
    VocFolder(tmp_path / "data").fill(3)
    # The tests may run in the background, where shells make processes ignore Ctrl-C.
    program = (
        "import signal, sys, local_runner\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.exit(local_runner.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "--workdir", tmp_path / "w"]
    elsewhere = {"HOME": tmp_path / "home", "TMPDIR": tmp_path / "temporary"}
    for folder in elsewhere.values():
        folder.mkdir()
    environment = os.environ | {name: str(folder) for name, folder in elsewhere.items()}
    for name in ("KERAS_HOME", "MPLCONFIGDIR"):
        environment.pop(name)
    with subprocess.Popen(
        [*map(str, command), "--data", str(tmp_path / "data")],
        cwd=ROOT,
        env=environment | {"PYTHONWARNINGS": "ignore"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stdout:
            if line.startswith("StatisticsGen"):
                break
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error == "interrupted: run the same command again to resume\n"
    summary = json.loads((tmp_path / "w" / "latest_run" / "summary.json").read_text())
    assert summary["error"] == "interrupted"
    # Nor is anything left outside the clone and the workdir; ExampleGen has used Beam.
    assert [list(folder.iterdir()) for folder in elsewhere.values()] == [[], []]
    assert not (tmp_path / "w" / "tmp").exists()
    with Workdir(str(tmp_path / "w")).lock():
        pass
