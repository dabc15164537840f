"""Databases of servers by their own drivers, for what ML Metadata can't do to them."""

import contextlib

from ml_metadata.proto import metadata_store_pb2

_CONNECT_SECONDS = 10


def connect(config: metadata_store_pb2.ConnectionConfig):
    """A connection to MySQL, MariaDB or PostgreSQL."""
    if config.HasField("mysql"):
        import pymysql

        return pymysql.connect(
            host=config.mysql.host,
            port=config.mysql.port,
            user=config.mysql.user,
            password=config.mysql.password,
            database=config.mysql.database,
            connect_timeout=_CONNECT_SECONDS,
        )
    import pg8000.dbapi

    return pg8000.dbapi.connect(
        host=config.postgresql.host,
        port=int(config.postgresql.port),
        user=config.postgresql.user,
        password=config.postgresql.password,
        database=config.postgresql.dbname,
        timeout=_CONNECT_SECONDS,
    )


def errors(config: metadata_store_pb2.ConnectionConfig) -> tuple[type[Exception], ...]:
    """What the functions here raise when the server refuses; nothing for SQLite."""
    if config.HasField("mysql"):
        import pymysql

        return (OSError, pymysql.MySQLError)
    if config.HasField("postgresql"):
        import pg8000.exceptions

        return (OSError, pg8000.exceptions.Error)
    return ()


def has_tables(config: metadata_store_pb2.ConnectionConfig) -> bool:
    """Whether a database is a store: ML Metadata makes one of any that it opens."""
    with contextlib.closing(connect(config)) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT COUNT(*) FROM information_schema.tables WHERE LOWER(table_name) = 'mlmdenv'"
            # PostgreSQL shows one database; MySQL shows all of the server's.
            + (" AND table_schema = DATABASE()" if config.HasField("mysql") else "")
        )
        return cursor.fetchone()[0] > 0
