"""Databases of servers: a question never writes to them, whatever is in them."""

import contextlib
import json

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from benchmarks.lineage_store import generate
from pipeline.lineage.__main__ import main
from pipeline.metadata import database, store
from pipeline.metadata.run_facts import read_record, write_record
from tests.pipeline.lineage.servers import READER, USER, mariadb, postgresql

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


def test_a_question_makes_no_tables_and_one_store_only_answers_in_its_version(
    server, capfd, tmp_path
):
    for verb in VERBS:
        assert "without ML Metadata's tables" in only_line(capfd, *verb, "--metadata", server)
    assert tables(server) == []
    assert "wrong" in only_line(capfd, "runs", "--metadata", server.replace(USER, "wrong"))

    generate(store.open_store(store.connection_config(server)), tmp_path / "root", 8, chain=3)
    capfd.readouterr()  # ML Metadata's own log of writing
    before = len(tables(server))
    assert before > 10
    for verb in VERBS:  # the server itself refuses what is no question
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


def test_properties_of_any_length_with_any_characters(server, tmp_path):
    """ML Metadata's own statements for PostgreSQL fail from some thousand bytes on, and at \\."""
    text = "".join(map(chr, range(0x4E00, 0x9E00)))  # does not become short by compression
    content = {"text": text, "quoted": json.dumps({"a": 'b"c'}), "path": r"C:\d\e'f'"}
    for number in range(2):  # a store that is new, and one that is there
        opened = store.open_store(store.connection_config(server))
        write_record(opened, "test", str(number), content)
        assert read_record(opened, "test", str(number)) == content
        kind = opened.put_execution_type(mlmd.ExecutionType(name="long"))
        execution = mlmd.Execution(type_id=kind, name=rf"\{number}")
        before = mlmd.Execution.FromString(execution.SerializeToString())
        for name, value in content.items():
            execution.custom_properties[name].string_value = value
            before.custom_properties[name].string_value = value
        execution.custom_properties["struct"].struct_value.update(content)
        before.custom_properties["struct"].struct_value.update(content)
        (key,) = opened.put_executions([execution])
        assert execution == before  # the caller's message is not touched
        (found,) = opened.get_executions_by_id([key])
        assert found.name == execution.name
        assert found.custom_properties == execution.custom_properties
        assert opened.get_execution_by_type_and_name("long", execution.name).id == key
