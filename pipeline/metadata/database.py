"""What ML Metadata cannot do with a server's database, done through the server's own driver."""

import contextlib

from ml_metadata.proto import metadata_store_pb2

_CONNECT_SECONDS = 10
# Characters of a text that an index holds: as many as ML Metadata's own indexes on MySQL.
_INDEXED = 255


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
    """What the functions here raise if the server refuses; nothing for SQLite."""
    if config.HasField("mysql"):
        import pymysql

        return (OSError, pymysql.MySQLError)
    if config.HasField("postgresql"):
        import pg8000.exceptions

        return (OSError, pg8000.exceptions.Error)
    return ()


def has_tables(config: metadata_store_pb2.ConnectionConfig) -> bool:
    """Whether a database is a store already; ML Metadata would turn any that it opens into one."""
    with contextlib.closing(connect(config)) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT COUNT(*) FROM information_schema.tables WHERE LOWER(table_name) = 'mlmdenv'"
            # PostgreSQL shows one database; MySQL shows all of the server's.
            + (" AND table_schema = DATABASE()" if config.HasField("mysql") else "")
        )
        return cursor.fetchone()[0] > 0


def shorten_indexes(config: metadata_store_pb2.ConnectionConfig) -> None:
    """Makes a store on PostgreSQL accept texts of any length.

    ML Metadata indexes whole texts there, and PostgreSQL limits an index entry to 2,704 bytes,
    which a schema of some dozens of classes or a list of packages exceeds. The indexes keep their
    names, so ML Metadata does not notice. Nothing here looks up properties by their values.
    """
    with contextlib.closing(connect(config)) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema() "
            "AND indexname LIKE 'idx_%_property_string' AND indexdef NOT LIKE '%left%'"
        )
        whole = {row[0] for row in cursor.fetchall()}
        for kind in ("artifact", "execution", "context"):
            index = f"idx_{kind}_property_string"
            if index in whole:
                cursor.execute(f"DROP INDEX {index}")
                cursor.execute(
                    f"CREATE INDEX {index} ON {kind}property "
                    f'(name, is_custom_property, "left"(string_value, {_INDEXED}))'
                )
        connection.commit()
