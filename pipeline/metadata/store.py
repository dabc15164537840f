"""Opens ML Metadata stores. Imports neither TensorFlow nor TFX.

A store is a SQLite file, or a database of a MySQL, MariaDB or PostgreSQL server:

    workdir/metadata.sqlite
    mysql://user@host:3306/database
    postgresql://user@host:5432/database

The password comes from the file that the environment variable METADATA_PASSWORD_FILE names, or from
METADATA_PASSWORD; never from the URL, which shows up in process lists, logs and summaries.
"""

import os
import re
import time
import urllib.parse

from ml_metadata import errors as mlmd_errors
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2

from pipeline.errors import UserError, one_line
from pipeline.metadata import database, mariadb, postgresql

# The name of the one context of this type is the store's; its pipeline root carries it too.
IDENTITY_TYPE = "detector_store"
PASSWORD_VARIABLE = "METADATA_PASSWORD"
PASSWORD_FILE_VARIABLE = "METADATA_PASSWORD_FILE"
_DEFAULT_PORTS = {"mysql": 3306, "postgresql": 5432}
_FORMS = "a SQLite file, mysql://user@host:port/database or postgresql://user@host:port/database"
# ML Metadata's errors while another process writes to the SQLite file, which takes milliseconds.
_BUSY = re.compile(r"subset of tables|locked|Concurrent writes")
_ATTEMPTS, _WAIT_SECONDS = 50, 0.1
_READ_RETRIES = 20
# Clocks of machines that share a store may differ by less than it takes to load TFX.
_CLOCK_SECONDS = 10
_NO_TABLES = "a database without ML Metadata's tables: no run has been recorded in it."
_SQLITE_MODE = metadata_store_pb2.SqliteMetadataSourceConfig


def connection_config(
    location: str, *, read_only: bool = False
) -> metadata_store_pb2.ConnectionConfig:
    """How to connect to a store.

    Args:
      location: path of a SQLite file, or URL of a database (see the module).
      read_only: a SQLite file must exist, and is opened for reading.

    Raises:
      UserError: the location cannot be a store.
    """
    if "://" in location:
        return _server_config(location)
    path = os.path.abspath(location)
    if os.path.isdir(path):
        raise UserError(f"Expected the path of a SQLite file. Received: {path}, a folder.")
    if read_only and not os.path.isfile(path):
        raise UserError(
            f"Expected a metadata store. Received: {path}, which does not exist. Run the pipeline "
            "first, or name the store with --metadata."
        )
    if os.path.isfile(path) and os.path.getsize(path):
        with open(path, "rb") as file:
            if file.read(15) != b"SQLite format 3":
                raise UserError(
                    f"Expected a SQLite file. Received: {path}, which is something else. "
                    "Name another file, or one that does not exist yet."
                )
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = path
    config.sqlite.connection_mode = (
        _SQLITE_MODE.READONLY if read_only else _SQLITE_MODE.READWRITE_OPENCREATE
    )
    return config


def _server_config(location: str) -> metadata_store_pb2.ConnectionConfig:
    url = urllib.parse.urlsplit(location)
    name = url.path.strip("/")
    # The URL is not repeated in this message: it may hold a password.
    if url.password is not None:
        raise UserError(
            f"The URL of the metadata store contains a password. Put it into a file that "
            f"${PASSWORD_FILE_VARIABLE} names, or into ${PASSWORD_VARIABLE}."
        )
    complete = url.hostname and url.username and name and "/" not in name
    if url.scheme not in _DEFAULT_PORTS or not complete:
        raise UserError(f"Expected {_FORMS}. Received: {location}.")
    try:
        port = url.port or _DEFAULT_PORTS[url.scheme]
    except ValueError as error:
        raise UserError(f"Expected a port number in {location}. Received: {error}.") from error
    config = metadata_store_pb2.ConnectionConfig()
    if url.scheme == "mysql":
        config.mysql.port = port
        config.mysql.database = name
        server = config.mysql
    else:
        config.postgresql.port = str(port)
        config.postgresql.dbname = name
        server = config.postgresql
    server.host = url.hostname
    server.user = urllib.parse.unquote(url.username)
    server.password = _password()
    # The administrator creates the database; we create its tables.
    server.skip_db_creation = True
    return config


def _password() -> str:
    path = os.environ.get(PASSWORD_FILE_VARIABLE)
    if not path:
        return os.environ.get(PASSWORD_VARIABLE, "")
    try:
        with open(path) as file:
            return file.read().strip("\r\n")
    except OSError as error:
        raise UserError(
            f"Expected a readable file in ${PASSWORD_FILE_VARIABLE}. Received: {path} "
            f"({error.strerror})."
        ) from error


def open_store(
    config: metadata_store_pb2.ConnectionConfig, *, read_only: bool = False
) -> metadata_store.MetadataStore:
    """Opens a store.

    Args:
      config: from `connection_config`.
      read_only: the store must exist. Otherwise a SQLite file, or the tables of an empty database,
        are created if needed.

    Raises:
      UserError: there is no store, it has another schema version, or the connection is refused.
    """
    if config.WhichOneof("config") == "sqlite":
        os.makedirs(os.path.dirname(config.sqlite.filename_uri), exist_ok=True)
    elif read_only and not _has_tables(config):
        raise _no_store(config, _NO_TABLES)
    if read_only:
        # At about two seconds a try: a reader waits longer for a busy writer than a run does.
        config.retry_options.max_num_retries = _READ_RETRIES
    is_postgresql = config.HasField("postgresql")
    if is_postgresql:
        postgresql.let_backslashes_through()
    if config.HasField("mysql"):
        mariadb.restart_transactions()
    attempt = 0
    while True:
        try:
            opened = metadata_store.MetadataStore(config)
            if is_postgresql and not read_only:
                database.shorten_indexes(config)
            return opened
        except database.errors(config) as error:
            raise _no_store(config, _received(error)) from error
        except (mlmd_errors.StatusError, RuntimeError) as error:
            attempt += 1
            if attempt == _ATTEMPTS or not _BUSY.search(str(error)):
                raise _no_store(config, _received(error)) from error
        time.sleep(_WAIT_SECONDS)


def _no_store(config: metadata_store_pb2.ConnectionConfig, received: str) -> UserError:
    return UserError(
        f"Expected an ML Metadata store at {describe(config)} that this version of ml-metadata "
        f"reads. Received: {received}"
    )


def _has_tables(config: metadata_store_pb2.ConnectionConfig) -> bool:
    try:
        return database.has_tables(config)
    except database.errors(config) as error:
        raise _no_store(config, _received(error)) from error


def describe(config: metadata_store_pb2.ConnectionConfig) -> str:
    """Where a store is, without the password."""
    kind = config.WhichOneof("config")
    if kind == "sqlite":
        return config.sqlite.filename_uri
    server = getattr(config, kind)
    name = server.database if kind == "mysql" else server.dbname
    return f"{kind}://{server.user}@{server.host}:{server.port}/{name}"


def _received(error: Exception) -> str:
    text = one_line(error)
    # From an attempt to create the tables.
    return _NO_TABLES if "readonly database" in text else text


def identity(store: metadata_store.MetadataStore, proposal: str) -> str:
    """The store's name; it becomes `proposal` if there is none yet."""
    types = {context_type.name for context_type in store.get_context_types()}
    contexts = store.get_contexts_by_type(IDENTITY_TYPE) if IDENTITY_TYPE in types else []
    if contexts:
        return contexts[0].name
    type_id = store.put_context_type(metadata_store_pb2.ContextType(name=IDENTITY_TYPE))
    store.put_contexts([metadata_store_pb2.Context(type_id=type_id, name=proposal)])
    return proposal


def require_clock(store: metadata_store.MetadataStore) -> None:
    """Finds a clock that was set back since the last run.

    TFX finds no inputs among artifacts that were made in the future.

    Raises:
      UserError: when the newest artifact is of a later time than now.
    """
    newest = store.get_artifacts(
        list_options=metadata_store.ListOptions(
            limit=1, order_by=metadata_store.OrderByField.CREATE_TIME, is_asc=False
        )
    )
    now = time.time()
    last = max((artifact.create_time_since_epoch / 1000 for artifact in newest), default=now)
    if last > now + _CLOCK_SECONDS:
        raise UserError(
            f"The clock was set back: it says {_local(now)}, but an earlier run recorded something "
            f"at {_local(last)}. Set the clock; if it is right now, wait until then, or choose "
            "another --workdir."
        )


def _local(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def find_context(
    store: metadata_store.MetadataStore, type_name: str, name: str
) -> metadata_store_pb2.Context | None:
    """A context by type and name; None if there is none."""
    try:
        return store.get_context_by_type_and_name(type_name, name)
    except mlmd_errors.NotFoundError:  # there is no such type
        return None
