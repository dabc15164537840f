"""Questions without an answer end with one clear line and exit code 2; none changes a store."""

import hashlib
import json
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
    with sqlite3.connect(copy) as database:
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
    with sqlite3.connect(copy) as database:
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
    with sqlite3.connect(copy) as database:
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
