"""Questions never write to the database of a server, whatever is in it."""

import contextlib

import pytest

from benchmarks.lineage_store import generate
from pipeline.lineage.__main__ import main
from pipeline.metadata import database, store
from tests.pipeline.metadata.servers import READER, USER, mariadb, postgresql

KINDS = {"mariadb": mariadb, "postgresql": postgresql}
VERBS = (
    ["runs"], ["trace", "run-00005"], ["impact", "picture_000001"], ["diff", "run-00001",
    "run-00007"], ["why", "run-00005"], ["graph", "run-00005"], ["verify", "run-00005"],
    ["export", "run-00005"],
)  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def server(request):
    """The URL of an empty database."""
    with KINDS[request.param]() as url:
        yield url


def execute(url: str, statement: str) -> list:
    with contextlib.closing(database.connect(store.connection_config(url))) as connection:
        cursor = connection.cursor()
        cursor.execute(statement)
        rows = list(cursor.fetchall()) if cursor.description else []
        connection.commit()
        return rows


def tables(url: str) -> list:
    schema = "DATABASE()" if url.startswith("mysql") else "'public'"
    return execute(
        url, f"SELECT table_name FROM information_schema.tables WHERE table_schema = {schema}"
    )


def only_line(capfd, *arguments: str) -> str:
    assert main(list(arguments)) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    return captured.err


def test_questions_create_no_tables_and_need_only_read_access(server, capfd, tmp_path):
    for verb in VERBS:
        assert "without ML Metadata's tables" in only_line(capfd, *verb, "--metadata", server)
    assert tables(server) == []
    assert "wrong" in only_line(capfd, "runs", "--metadata", server.replace(USER, "wrong"))

    generate(store.open_store(store.connection_config(server)), tmp_path / "root", 8, chain=3)
    capfd.readouterr()  # ML Metadata's own log of writing
    before = len(tables(server))
    assert before > 10
    for verb in VERBS:  # this user may only read
        location = server.replace(USER, READER)
        assert main([*verb, "--metadata", location]) == (verb[0] == "verify"), verb
        captured = capfd.readouterr()
        assert captured.out
        assert captured.err == ""
    current = execute(server, "SELECT schema_version FROM MLMDEnv")[0][0]
    for version in (7, 99):
        execute(server, f"UPDATE MLMDEnv SET schema_version = {version}")
        assert f"version {version}" in only_line(capfd, "runs", "--metadata", server)
        assert execute(server, "SELECT schema_version FROM MLMDEnv")[0][0] == version
    execute(server, f"UPDATE MLMDEnv SET schema_version = {current}")
    assert main(["runs", "--metadata", server]) == 0
    assert len(tables(server)) == before
