import contextlib
import sqlite3
import time

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.errors import UserError
from pipeline.metadata import store


@pytest.fixture
def opened(tmp_path):
    return store.open_store(store.connection_config(str(tmp_path / "metadata.sqlite")))


@pytest.mark.parametrize("seconds", [-86400, -60, -5, 0, 86400])
def test_a_clock_that_was_set_back_is_an_error_in_one_line(opened, monkeypatch, seconds):
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + seconds)
    store.require_clock(opened)  # an empty store knows no time
    type_id = opened.put_artifact_type(mlmd.ArtifactType(name="Model"))
    opened.put_artifacts([mlmd.Artifact(type_id=type_id), mlmd.Artifact(type_id=type_id)])
    if seconds > -10:
        store.require_clock(opened)
        return
    with pytest.raises(UserError, match=r"^The clock was set back: it says .*Set the clock"):
        store.require_clock(opened)


def test_stores_of_tfx_1_16_and_1_21_are_of_one_schema(opened, tmp_path):
    """If this fails, one of them migrates: docs/lineage.md says that it does not."""
    assert opened.get_artifacts() == []
    with contextlib.closing(sqlite3.connect(tmp_path / "metadata.sqlite")) as database:
        assert database.execute("SELECT schema_version FROM MLMDEnv").fetchall() == [(10,)]


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("version", [9, 11])
def test_a_store_of_another_schema_is_refused_and_stays_as_it_is(
    opened, tmp_path, version, read_only
):
    path = tmp_path / "metadata.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE MLMDEnv SET schema_version = ?", (version,))
    before = path.read_bytes()
    config = store.connection_config(str(path), read_only=read_only)
    with pytest.raises(UserError, match=f"MLMD database version {version} is .* version 10"):
        store.open_store(config, read_only=read_only)
    assert path.read_bytes() == before
