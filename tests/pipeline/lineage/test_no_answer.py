"""Questions without an answer end with one clear line and exit code 2; none changes a store."""

import contextlib
import hashlib
import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.lineage.__main__ import main
from pipeline.metadata import store
from tests.pipeline.metadata.servers import free_port


def ask(capfd, *arguments: str) -> str:
    """The error line of a command that has no answer."""
    assert main(list(arguments)) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    return captured.err


@pytest.mark.parametrize(
    "given",
    [
        "nothing",
        "99999",
        "9" * 30,
        "run:x",
        "artifact:x",
        "artifact:",
        "0" * 8,
        "0" * 64,
        "/no/such/folder",
    ],
)
def test_an_unknown_subject_is_not_found(sqlite_filled, capfd, given):
    message = ask(capfd, "trace", given, "--metadata", sqlite_filled.location)
    assert given in message
    assert len(message.splitlines()) == 1


def test_an_unknown_image_is_not_found(sqlite_filled, capfd):
    assert "image's id" in ask(capfd, "impact", "x.jpg", "--metadata", sqlite_filled.location)


def test_an_ambiguous_subject_lists_its_candidates(tmp_path, sqlite_filled, capfd):
    copy = tmp_path / "copy.sqlite"
    copy.write_bytes(Path(sqlite_filled.location).read_bytes())
    first, second = sqlite_filled.made.models[:2]
    with contextlib.closing(sqlite3.connect(copy)) as database, database:
        database.execute("UPDATE Artifact SET uri = '/same' WHERE id IN (?, ?)", (first, second))
    message = ask(capfd, "trace", "/same", "--metadata", str(copy))
    assert f"artifact:{first} " in message
    assert f"artifact:{second} " in message


def test_a_sha256_may_be_cut_short_unless_that_is_ambiguous(tmp_path, sqlite_filled, capfd):
    """Of two files: one that both begin with, and one that only one begins with."""
    copy = tmp_path / "copy.sqlite"
    copy.write_bytes(Path(sqlite_filled.location).read_bytes())
    digests = {f"abcdef01{end * 56}": sqlite_filled.made.shipping_models[i]
               for i, end in enumerate("23")}  # fmt: skip
    with contextlib.closing(sqlite3.connect(copy)) as database, database:
        for digest, artifact in digests.items():
            database.execute(
                "UPDATE ArtifactProperty SET string_value = ? WHERE artifact_id = ? AND "
                "name = 'sha256'",
                (digest, artifact),
            )
    message = ask(capfd, "trace", "abcdef01", "--metadata", str(copy))
    for artifact in digests.values():
        assert f"artifact:{artifact} " in message
    assert main(["trace", "ABCDEF013", "--json", "--metadata", str(copy)]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert answer["subject"]["artifact"]["id"] == sqlite_filled.made.shipping_models[1]


@pytest.mark.parametrize("last", ["0", "-3", "x"])
def test_the_number_of_runs_must_be_positive(capfd, last):
    with pytest.raises(SystemExit, match="2"):
        main(["runs", "--last", last])
    assert "--last" in capfd.readouterr().err


def test_absent_empty_and_foreign_stores_are_errors(tmp_path, capfd):
    absent = tmp_path / "absent.sqlite"
    assert "does not exist" in ask(capfd, "runs", "--metadata", str(absent))
    assert not absent.exists()
    absent.write_bytes(b"")
    assert "no run" in ask(capfd, "runs", "--metadata", str(absent))
    assert absent.read_bytes() == b""
    absent.write_text("something else")
    assert "SQLite" in ask(capfd, "runs", "--metadata", str(absent))
    store.open_store(store.connection_config(str(tmp_path / "no_runs.sqlite")))
    assert "runs" in ask(capfd, "runs", "--metadata", str(tmp_path / "no_runs.sqlite"))


@pytest.mark.parametrize("version", [7, 99])
def test_a_store_of_another_schema_version_is_an_error(tmp_path, sqlite_filled, capfd, version):
    copy = tmp_path / "copy.sqlite"
    copy.write_bytes(Path(sqlite_filled.location).read_bytes())
    with contextlib.closing(sqlite3.connect(copy)) as database, database:
        database.execute("UPDATE MLMDEnv SET schema_version = ?", (version,))
    assert f"version {version}" in ask(capfd, "runs", "--metadata", str(copy))


@pytest.mark.parametrize("scheme", ["mysql", "postgresql"])
def test_an_unreachable_server_is_an_error(scheme, capfd, monkeypatch):
    monkeypatch.setenv(store.PASSWORD_VARIABLE, "hush-hush")
    message = ask(capfd, "runs", "--metadata", f"{scheme}://u@127.0.0.1:{free_port()}/d")
    assert len(message.splitlines()) == 1
    assert "hush" not in message


def test_a_password_in_a_url_is_rejected(capfd):
    message = ask(capfd, "runs", "--metadata", "mysql://u:hush-hush@127.0.0.1/d")
    assert "hush" not in message
    assert store.PASSWORD_FILE_VARIABLE in message


def test_the_password_may_be_in_a_file(tmp_path, monkeypatch):
    (tmp_path / "password").write_text("hush-hush\n")
    monkeypatch.setenv(store.PASSWORD_FILE_VARIABLE, str(tmp_path / "password"))
    config = store.connection_config("mysql://u@h/d")
    assert config.mysql.password == "hush-hush"
    assert "hush" not in store.describe(config)


def test_questions_change_nothing(sqlite_filled, capfd):
    path = Path(sqlite_filled.location)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    for arguments in (["runs"], ["trace", "run-00009"], ["verify", "run-00001"]):
        main([*arguments, "--metadata", str(path)])
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    capfd.readouterr()


def test_questions_load_neither_tensorflow_nor_tfx(sqlite_filled):
    code = (
        "import sys; from pipeline.lineage.__main__ import main; "
        f"main(['trace', 'run-00009', '--metadata', {sqlite_filled.location!r}]); "
        "loaded = {name.partition('.')[0] for name in sys.modules}; "
        "sys.exit(bool(loaded & {'tensorflow', 'tfx', 'keras', 'apache_beam', 'google.cloud'}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@pytest.mark.parametrize("location", ["vertex://p", "vertex://p/l/s/x", "vertex://p/l!/s"])
def test_a_malformed_vertex_url_is_an_error(capfd, location):
    message = ask(capfd, "runs", "--metadata", location)
    assert "vertex://PROJECT/LOCATION" in message
    assert len(message.splitlines()) == 1


def test_vertex_without_credentials_is_an_error(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    message = ask(capfd, "runs", "--metadata", "vertex://p/us-central1")
    assert "gcloud auth application-default login" in message
    assert len(message.splitlines()) == 1


QUESTIONS = (
    ["runs"],
    ["trace", "run-00003"],
    ["impact", "picture_000001"],
    ["why", "run-00005"],
    ["diff", "run-00001", "run-00011"],
    ["graph", "run-00001"],
    ["export", "run-00001"],
)
# Asks them all of a store; prints "QUESTION CODE" before what each says on standard error.
_ASK_ALL = """
import json, os, sys
from pipeline.lineage.__main__ import _in_child
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
for question in json.loads(sys.argv[2]):
    code = _in_child([*question, "--metadata", sys.argv[1]])
    print(f"asked {question[0]}: {code}", file=sys.stderr, flush=True)
"""


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM Artifact WHERE id % 3 = 0",
        "DELETE FROM Execution WHERE id % 3 = 0",
        "DELETE FROM Event",
        "DELETE FROM EventPath",
        "UPDATE ContextProperty SET string_value = '['",
        "UPDATE Event SET artifact_id = 90000 + id WHERE id % 3 = 0",
        "UPDATE ArtifactProperty SET string_value = '{' WHERE string_value IS NOT NULL",
    ],
)
def test_a_damaged_store_is_an_answer_or_one_line(tmp_path, sqlite_filled, damage):
    copy = tmp_path / "copy.sqlite"
    copy.write_bytes(Path(sqlite_filled.location).read_bytes())
    with contextlib.closing(sqlite3.connect(copy)) as database, database:
        assert database.execute(damage).rowcount
    done = subprocess.run(
        [sys.executable, "-c", _ASK_ALL, str(copy), json.dumps(QUESTIONS)],
        capture_output=True, text=True,
    )  # fmt: skip
    *answers, rest = re.split(r"asked (\w+: \d+)\n", done.stderr)
    assert rest == ""
    assert len(answers) == 2 * len(QUESTIONS)
    for said, asked in zip(answers[::2], answers[1::2], strict=True):
        code, lines = asked.rpartition(" ")[2], said.count("\n")
        assert (code, lines) in (("0", 0), ("0", 1), ("2", 1)), (asked, said)


def test_where_native_code_aborts_the_command_says_so(tmp_path, sqlite_filled):
    code = (
        "import os, sys; from pipeline.lineage import __main__ as command; "
        "command._answer = lambda *_: os.abort(); sys.exit(command._in_child(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "runs", "--metadata", sqlite_filled.location],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: ML Metadata broke off (SIGABRT)")
    assert done.stderr.count("\n") == 1


def test_a_truncated_store_is_an_error(tmp_path, sqlite_filled, capfd):
    copy = tmp_path / "copy.sqlite"
    copy.write_bytes(Path(sqlite_filled.location).read_bytes()[:30_000])
    message = ask(capfd, "trace", "run-00003", "--metadata", str(copy))
    assert len(message.splitlines()) == 1
    assert str(copy) in message


@pytest.mark.parametrize("name", ["\udcff.jpg", "caf\udce9", "/data/\udcff/x.tflite"])
def test_a_name_that_is_not_utf8_is_not_found(sqlite_filled, capfd, name):
    for verb in ("trace", "impact", "verify"):
        message = ask(capfd, verb, name, "--metadata", sqlite_filled.location)
        assert len(message.splitlines()) == 1
        assert "\\udc" in message


def test_a_name_does_not_steer_the_terminal(sqlite_filled, capfd):
    message = ask(capfd, "trace", "a\x1b[2Jb", "--metadata", sqlite_filled.location)
    assert "a\\x1b[2Jb" in message


def test_an_unreadable_file_is_an_error(sqlite_filled, capfd, tmp_path, monkeypatch):
    from pipeline.lineage import subject

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "x.tflite").write_bytes(b"")
    monkeypatch.setattr(subject, "sha256_of", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    message = ask(capfd, "trace", str(tmp_path / "x.tflite"), "--metadata", sqlite_filled.location)
    assert "Permission denied" in message
