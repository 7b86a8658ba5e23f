"""The databases that the jobs package must work on: SQLite, and Postgres where this machine has one to start."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.jobs.database import open_database
from app.jobs.queue import JobQueue, prepare_queue
from app.jobs.schema import create_tables

_POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


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
