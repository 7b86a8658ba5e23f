"""Workers that refuse to start: why, written down where the API and its operator find it.

A worker that starts to work forgets all of them: whoever still refuses says so again when it is tried next. What is
told of them is read without a key: it names no host and no path, and holds the words of a kernel or of CUDA.
"""

import re
from dataclasses import asdict, dataclass, replace

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from app.jobs.database import now
from app.jobs.schema import refused

# Longer than any pause between two tries, of `serve` or of a container engine (five minutes in Kubernetes).
_FRESH_SECONDS = 900.0
_LONGEST = 1000  # characters of a text
_PATH = re.compile(r"(?<![\w.])/(?:[\w.+@-]+/?)+")
_MOST = 20


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a worker does not start. `device` is what it was to compute on, as the setting says it."""

    device: str
    code: str
    reason: str
    detail: str
    remedy: str
    refused_at: float = 0.0  # by the database's clock


def tell_refusal(engine: sa.Engine, host: str, refusal: Refusal) -> None:
    """Write down that a worker of this host refuses, in the place of what it said before."""
    values = asdict(replace(refusal, detail=_plain(refusal.detail), remedy=_plain(refusal.remedy)))
    insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
    row: postgresql.Insert | sqlite.Insert = insert(refused).values(host=host, **{**values, "refused_at": now()})
    told = {name: row.excluded[name] for name in ("refused_at", "code", "reason", "detail", "remedy")}
    with engine.begin() as connection:
        connection.execute(refused.delete().where(refused.c.refused_at < now() - _FRESH_SECONDS))
        connection.execute(row.on_conflict_do_update(index_elements=["host", "device"], set_=told))


def forget_refusals(engine: sa.Engine) -> None:
    """A worker works: what others said before is settled, or will be said again."""
    with engine.begin() as connection:
        connection.execute(refused.delete())


def read_refusals(engine: sa.Engine, host: str | None = None) -> list[Refusal]:
    """What workers said of late, of this host or of all, the latest first."""
    fresh = sa.select(refused).where(refused.c.refused_at >= now() - _FRESH_SECONDS)
    if host is not None:
        fresh = fresh.where(refused.c.host == host)
    with engine.connect() as connection:
        rows = connection.execute(fresh.order_by(refused.c.refused_at.desc()).limit(_MOST)).mappings().all()
    return [Refusal(**{name: value for name, value in row.items() if name != "host"}) for row in rows]


def _plain(text: str) -> str:
    """One line of bounded length, without paths: a driver may have said anything."""
    printable = _PATH.sub("[path]", "".join(letter if letter.isprintable() else " " for letter in text))
    return printable if len(printable) <= _LONGEST else f"{printable[: _LONGEST - 3]}..."
