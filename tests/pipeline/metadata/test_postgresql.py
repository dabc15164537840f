"""What ML Metadata cannot write on PostgreSQL, stores of ours can."""

import inspect
import json

import pytest
from ml_metadata import errors
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.metadata import store
from pipeline.metadata.facts import read_record, write_record
from tests.pipeline.metadata.servers import PASSWORD, mariadb, postgresql

KINDS = {"mariadb": mariadb, "postgresql": postgresql}


@pytest.fixture(scope="module", autouse=True)
def password():
    """Of the servers that the tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(store.PASSWORD_VARIABLE, PASSWORD)
        yield


@pytest.fixture(params=KINDS)
def server(request):
    """The URL of an empty database."""
    with KINDS[request.param]() as url:
        yield url


@pytest.fixture
def stock():
    """A store on PostgreSQL as ML Metadata opens it, without our changes."""
    with postgresql() as url, pytest.MonkeyPatch.context() as patch:
        call = inspect.unwrap(metadata_store.MetadataStore._pywrap_cc_call)
        patch.setattr(metadata_store.MetadataStore, "_pywrap_cc_call", call)
        yield metadata_store.MetadataStore(store.connection_config(url))


def put_text(opened: metadata_store.MetadataStore, text: str) -> None:
    kind = opened.put_context_type(mlmd.ContextType(name="test"))
    context = mlmd.Context(type_id=kind, name="test")
    context.custom_properties["text"].string_value = text
    opened.put_contexts([context])


def test_ml_metadata_alone_cannot_write_a_backslash(stock):
    """If this fails, ML Metadata has learned it: remove pipeline/metadata/postgresql.py."""
    with pytest.raises(errors.StatusError):
        put_text(stock, "\\")


def test_ml_metadata_alone_cannot_write_a_long_text(stock):
    """If this fails, ML Metadata has learned it: remove `database.shorten_indexes`."""
    with pytest.raises(errors.StatusError):
        put_text(stock, "".join(map(chr, range(0x4E00, 0x9E00))))


def test_properties_of_any_length_with_any_characters(server):
    text = "".join(map(chr, range(0x4E00, 0x9E00)))  # does not compress well
    content = {"text": text, "quoted": json.dumps({"a": 'b"c'}), "path": r"C:\d\e'f'"}
    for number in range(2):  # a new store, then an existing one
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
