"""A transaction that MariaDB has ended, because another's write crossed it, begins again.

tests/pipeline/lineage/test_live.py asks a real server.
"""

import pytest
from ml_metadata import errors
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd
from ml_metadata.proto import metadata_store_service_pb2 as service

from pipeline.metadata.mariadb import restart_transactions

CHANGED = b"Record has changed since last read in table 'Execution'; try restarting transaction"
FOUND = service.GetContextTypesResponse(context_types=[mlmd.ContextType(name="found")])


@pytest.fixture
def ask(monkeypatch):
    """Asks a store whose C++ library gives the answers, one at a time."""

    def names(*answers):
        rest = list(answers)
        library = metadata_store.metadata_store_serialized
        monkeypatch.setattr(library, "GetContextTypes", lambda *_: rest.pop(0))
        monkeypatch.setattr(metadata_store.time, "sleep", lambda _: None)
        store = metadata_store.MetadataStore(mlmd.ConnectionConfig(fake_database={}))
        return [kind.name for kind in store.get_context_types()]

    restart_transactions()
    return names


def test_what_has_changed_is_read_again(ask):
    failed = (b"", CHANGED, errors.INTERNAL)
    assert ask(failed, failed, (FOUND.SerializeToString(), b"", 0)) == ["found"]


def test_another_failure_is_one(ask):
    with pytest.raises(errors.InternalError, match="no such table"):
        ask((b"", b"no such table", errors.INTERNAL))
