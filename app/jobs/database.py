"""The database connection of the jobs table and the queue: SQLite or Postgres, one code path above this file."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

BUSY_MILLISECONDS = 30_000
# How long a caller waits for a connection that does not come.
_POOL_SECONDS = 10
# What a server of another encoding says can be read too, and be told.
_POSTGRES_TEXT = {"client_encoding": "utf8"}
# A server that is gone without a word is noticed: else a request would hang for the system's own many minutes.
_POSTGRES_PATIENCE = {"connect_timeout": "5", "tcp_user_timeout": "15000"}


class now(FunctionElement[float]):
    """Seconds since 1970 by the database's clock: workers on several machines agree on one clock."""

    type = sa.Float()
    inherit_cache = True
    name = "now_seconds"


@compiles(now, "sqlite")
def _sqlite_now(*_: Any, **__: Any) -> str:
    # Not unixepoch('subsec'): SQLite before 3.42 does not have it.
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _postgres_now(*_: Any, **__: Any) -> str:
    return "EXTRACT(EPOCH FROM clock_timestamp())::float8"


def open_database(url: str) -> sa.Engine:
    """An engine whose committed transactions survive a power cut. Creates the directory of a SQLite file."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed)
    patience = {name: value for name, value in _POSTGRES_PATIENCE.items() if name not in parsed.query}
    return sa.create_engine(
        parsed.set(drivername="postgresql+psycopg").update_query_dict(patience),
        pool_pre_ping=True,
        pool_size=10,
        pool_timeout=_POOL_SECONDS,
        connect_args=_POSTGRES_TEXT,
    )


def words_of_driver(error: sa.exc.DBAPIError) -> str:
    """The first line of what the driver says: it names host and port, and no password."""
    return str(error.orig).strip().splitlines()[0]


def _open_sqlite(url: sa.URL) -> sa.Engine:
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, pool_size=10, max_overflow=20, pool_timeout=_POOL_SECONDS)

    @sa.event.listens_for(engine, "connect")
    def _set_up(connection: Any, _: Any) -> None:
        # IMMEDIATE: a transaction that reads and then writes takes the write lock first, or it could not be retried.
        connection.isolation_level = "IMMEDIATE"
        connection.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    return engine
