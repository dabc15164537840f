"""Database servers that a test starts for itself, on loopback, with data folders of their own."""

import contextlib
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

USER, PASSWORD, DATABASE = "tfx", "not-in-any-output", "metadata"
# May only read.
READER = "reader"
_START_SECONDS = 60
# Sockets take short paths only, and the user postgres must be let in; each server removes its own.
_FOLDER = "/tmp"


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def find_program(name: str, *patterns: str) -> str:
    """The path of a server's program; skips the test where it is not installed."""
    places = [path for pattern in patterns for path in sorted(glob.glob(pattern))]
    found = shutil.which(name) or next(iter(places), None)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: mariadb-server, postgresql)")
    return found


def wait_for(command: list[str], environment: dict[str, str] | None = None) -> None:
    """Repeats a command until it succeeds."""
    end = time.monotonic() + _START_SECONDS
    while True:
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if not done.returncode:
            return
        if time.monotonic() > end:
            raise TimeoutError(f"{command[0]}: {done.stderr}")
        time.sleep(0.3)


@contextlib.contextmanager
def mariadb() -> Iterator[str]:
    """Runs MariaDB; gives the URL of an empty database."""
    install = find_program("mariadb-install-db")
    server = find_program("mariadbd", "/usr/sbin/mariadbd")
    port, me = free_port(), pwd.getpwuid(os.getuid()).pw_name
    with tempfile.TemporaryDirectory(prefix="mariadb-", dir=_FOLDER) as folder:
        data, sock = os.path.join(folder, "data"), os.path.join(folder, "socket")
        common = ["--no-defaults", f"--datadir={data}", f"--user={me}"]
        subprocess.run(
            [install, *common, "--auth-root-authentication-method=normal", "--skip-test-db"],
            check=True,
            capture_output=True,
        )
        process = subprocess.Popen(
            [server, *common, f"--socket={sock}", f"--port={port}", "--bind-address=127.0.0.1",
             f"--pid-file={folder}/pid"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            client = ["mariadb", "--no-defaults", f"--socket={sock}", "--user=root", "--execute"]
            wait_for([*client, "SELECT 1"])
            statements = (
                f"CREATE DATABASE {DATABASE}; CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY "
                f"'{PASSWORD}'; GRANT ALL ON {DATABASE}.* TO {USER}@'127.0.0.1'; CREATE USER "
                f"{READER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'; GRANT SELECT ON {DATABASE}.* "
                f"TO {READER}@'127.0.0.1';"
            )
            subprocess.run([*client, statements], check=True, capture_output=True)
            yield f"mysql://{USER}@127.0.0.1:{port}/{DATABASE}"
        finally:
            process.terminate()
            process.wait(_START_SECONDS)


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """Runs PostgreSQL; gives the URL of an empty database."""
    binaries = "/usr/lib/postgresql/*/bin"
    initdb = find_program("initdb", f"{binaries}/initdb")
    server = find_program("postgres", f"{binaries}/postgres")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="postgresql-", dir=_FOLDER) as folder:
        # PostgreSQL refuses to run as root.
        owner = []
        if os.getuid() == 0:
            shutil.chown(folder, "postgres")
            owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        password = Path(folder, "password")
        password.write_text(PASSWORD)
        if owner:
            shutil.chown(password, "postgres")
        data = os.path.join(folder, "data")
        subprocess.run(
            [*owner, initdb, "-D", data, "-U", USER, "--auth=scram-sha-256",
             f"--pwfile={password}", "--no-sync"],
            check=True,
            capture_output=True,
        )  # fmt: skip
        process = subprocess.Popen(
            [*owner, server, "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", folder],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            environment = {**os.environ, "PGPASSWORD": PASSWORD}
            target = ["-h", "127.0.0.1", "-p", str(port), "-U", USER]
            wait_for(["psql", *target, "-d", "postgres", "-c", "SELECT 1"], environment)
            subprocess.run(
                ["createdb", *target, DATABASE], check=True, capture_output=True, env=environment
            )
            statements = (
                f"CREATE USER {READER} PASSWORD '{PASSWORD}'; "
                f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER}; "
                f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {READER};"
            )
            subprocess.run(
                ["psql", *target, "-d", DATABASE, "-c", statements],
                check=True, capture_output=True, env=environment,
            )  # fmt: skip
            yield f"postgresql://{USER}@127.0.0.1:{port}/{DATABASE}"
        finally:
            process.send_signal(signal.SIGINT)  # does not wait for clients to leave
            process.wait(_START_SECONDS)
