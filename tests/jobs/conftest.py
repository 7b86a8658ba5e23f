"""The databases that the jobs package must work on: SQLite, and Postgres where this machine has one to start."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.jobs.database import open_database
from app.jobs.queue import JobQueue, prepare_queue
from app.jobs.table import create_tables

_POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a Postgres of our own, on a free port of loopback."""
    binaries = _POSTGRES[-1].parent
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    directory = Path(tempfile.mkdtemp(prefix="fusebox-postgres-"))
    # It refuses to run as root.
    user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    shutil.chown(directory, user)
    run = {"cwd": directory, "user": user if os.getuid() == 0 else None, "stdout": subprocess.DEVNULL}
    subprocess.run([binaries / "initdb", "-D", directory / "db", "-A", "trust", "-U", "fusebox"], check=True, **run)
    server = subprocess.Popen(
        [binaries / "postgres", "-D", directory / "db", "-p", str(port), "-h", "127.0.0.1", "-k", directory],
        stderr=subprocess.DEVNULL,
        **run,
    )
    try:
        ready = [binaries / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-t", "20"]
        while subprocess.run(ready, check=False, **run).returncode != 0:
            assert server.poll() is None, "Postgres did not start"
        yield f"postgresql://fusebox@127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGINT)  # fast: SIGTERM would wait for every client to leave
        server.wait(60)
        shutil.rmtree(directory)


@pytest.fixture(params=["sqlite", "postgres"] if _POSTGRES else ["sqlite"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'jobs.sqlite'}"
        return
    server = request.getfixturevalue("postgres")
    name = f"test{os.urandom(4).hex()}"
    engine = sa.create_engine(f"{server}/postgres".replace("://", "+psycopg://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    yield f"{server}/{name}"


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    prepare_queue(database_url)
    opened = open_database(database_url)
    create_tables(opened)
    yield opened
    opened.dispose()


@pytest.fixture
def queue(engine: sa.Engine) -> Iterator[JobQueue]:
    opened = JobQueue(engine)
    yield opened
    opened.close()
