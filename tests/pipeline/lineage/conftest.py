"""Generated stores on all three kinds of servers."""

import contextlib
import dataclasses
import os

import pytest
from servers import PASSWORD, mariadb, postgresql

from benchmarks.lineage_store import GeneratedStore, generate
from pipeline import store
from pipeline.lineage import Backend, open_backend

RUNS, CHAIN = 24, 8


@dataclasses.dataclass(frozen=True)
class Filled:
    """A generated store: what is in it, and how to open it."""

    made: GeneratedStore
    location: str

    def open(self) -> Backend:
        return open_backend(self.location)


@contextlib.contextmanager
def sqlite(folder):
    yield str(folder / "metadata.sqlite")


@pytest.fixture(scope="session", autouse=True)
def password():
    """Of the servers that the tests start."""
    before = os.environ.get(store.PASSWORD_VARIABLE)
    os.environ[store.PASSWORD_VARIABLE] = PASSWORD
    yield
    if before is None:
        del os.environ[store.PASSWORD_VARIABLE]
    else:
        os.environ[store.PASSWORD_VARIABLE] = before


@pytest.fixture(scope="session", params=["sqlite", "mariadb", "postgresql"])
def filled(request, tmp_path_factory):
    """The same generated store on each kind of server."""
    folder = tmp_path_factory.mktemp(request.param)
    kinds = {"sqlite": lambda: sqlite(folder), "mariadb": mariadb, "postgresql": postgresql}
    with kinds[request.param]() as location:
        opened = store.open_store(store.connection_config(location))
        yield Filled(generate(opened, folder / "root", RUNS, chain=CHAIN), location)


@pytest.fixture(scope="session")
def sqlite_filled(tmp_path_factory):
    """The same store in a SQLite file."""
    folder = tmp_path_factory.mktemp("generated")
    location = str(folder / "metadata.sqlite")
    opened = store.open_store(store.connection_config(location))
    return Filled(generate(opened, folder / "root", RUNS, chain=CHAIN), location)
