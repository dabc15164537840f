"""Generated stores on all three kinds of servers."""

import contextlib
import dataclasses
import os

import pytest

from benchmarks.lineage_store import GeneratedStore, generate
from pipeline.lineage import Backend, open_backend
from pipeline.metadata import store
from tests.pipeline.lineage.fake_vertex import LOCATION, FakeVertex, write_credentials
from tests.pipeline.metadata.servers import PASSWORD, mariadb, postgresql

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


@contextlib.contextmanager
def vertex(folder, opened):
    """What a store holds, served as Vertex ML Metadata; gives its URL."""
    service = FakeVertex(opened)
    write_credentials(folder / "credentials.json", service.url)
    variables = {
        "GOOGLE_APPLICATION_CREDENTIALS": str(folder / "credentials.json"),
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM": service.url,
    }
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    yield LOCATION
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    service.close()


@pytest.fixture(scope="session", params=["sqlite", "mariadb", "postgresql", "vertex"])
def filled(request, tmp_path_factory):
    """The same generated store on each kind of server."""
    folder = tmp_path_factory.mktemp(request.param)
    kinds = {"mariadb": mariadb, "postgresql": postgresql}
    with kinds.get(request.param, lambda: sqlite(folder))() as location:
        opened = store.open_store(store.connection_config(location))
        made = generate(opened, folder / "root", RUNS, chain=CHAIN)
        if request.param != "vertex":
            yield Filled(made, location)
            return
        with vertex(folder, opened) as url:
            # Its ids are texts.
            names = ("examples", "models", "shipping_models", "pushed")
            ids = {name: [str(key) for key in getattr(made, name)] for name in names}
            yield Filled(dataclasses.replace(made, **ids), url)


@pytest.fixture(scope="session")
def sqlite_filled(tmp_path_factory):
    """The same store in a SQLite file."""
    folder = tmp_path_factory.mktemp("generated")
    location = str(folder / "metadata.sqlite")
    opened = store.open_store(store.connection_config(location))
    return Filled(generate(opened, folder / "root", RUNS, chain=CHAIN), location)
