"""API keys: who may use the service. Kept as digests; a key itself is shown once, when it is made.

A digest is plain SHA-256. Salts and slow functions protect secrets that people choose, because those can be guessed; a
key is 256 random bits, which nobody guesses whatever a guess costs, and it is checked with every request. A lookup by
digest tells nothing either: whoever could measure it would learn of the digest, not of a key that has it.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from app.jobs.database import now
from app.jobs.job import ACTIVE
from app.jobs.schema import jobs, keys
from app.jobs.table import change_jobs

_PREFIX = "fbx_"  # so that people, and scanners of repositories, see what it is
_LONGEST = 512
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_LOCK = 715519


class KeyRefused(Exception):
    """A key can't be made or revoked; the text says why."""


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key."""

    id: str
    name: str
    created_at: float
    revoked_at: float | None


@dataclass(frozen=True, slots=True)
class Keyring:
    """Every key that is taken: those of the database, and those that the operator gave, by name with their digests."""

    engine: sa.Engine
    given: Mapping[str, str]

    def owner(self, token: str) -> str | None:
        """The id under which the jobs of this key are kept; None for a key that is unknown or revoked."""
        if len(token) > _LONGEST:
            return None
        digest = digest_of(token)
        owner = None
        for name, theirs in self.given.items():  # All of them, whichever fits.
            if hmac.compare_digest(digest, theirs):
                owner = given_owner(name)
        return owner or self._stored(digest)

    def _stored(self, digest: str) -> str | None:
        wanted = sa.select(keys.c.id, keys.c.digest).where(keys.c.digest == digest, keys.c.revoked_at.is_(None))
        with self.engine.connect() as connection:
            row = connection.execute(wanted).one_or_none()
        return row.id if row is not None and hmac.compare_digest(row.digest, digest) else None


def digest_of(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def given_owner(name: str) -> str:
    """Ids in the database hold no colon."""
    return f"given:{name}"


def add_key(engine: sa.Engine, name: str) -> str:
    """Make a key and return it; it can't be shown again. Raises KeyRefused."""
    if not _NAME.fullmatch(name):
        raise KeyRefused("a name is 1 to 64 letters, digits, dots, dashes, underscores or @")
    with engine.begin() as connection:
        _lock(connection)
        same = sa.select(keys.c.id).where(keys.c.name == name, keys.c.revoked_at.is_(None))
        if connection.execute(same).first() is not None:
            raise KeyRefused(f"there is a key of the name {name}: revoke it first, or take another name")
        return _insert(connection, name)


def first_key(engine: sa.Engine) -> str | None:
    """Make the very first key and return it; None where one was ever made, also by another process just now."""
    with engine.begin() as connection:
        _lock(connection)
        if connection.execute(sa.select(keys.c.id).limit(1)).first() is not None:
            return None
        return _insert(connection, "first")


def list_keys(engine: sa.Engine) -> list[Key]:
    """All that were ever made, oldest first."""
    every = sa.select(keys.c.id, keys.c.name, keys.c.created_at, keys.c.revoked_at).order_by(keys.c.created_at)
    with engine.connect() as connection:
        return [Key(*row) for row in connection.execute(every)]


def revoke_key(engine: sa.Engine, id_or_name: str, *, cancel_jobs: bool = False) -> int:
    """Take a key no more, from the next request on; the number of its jobs that were canceled. Raises KeyRefused.

    Its jobs otherwise end as they would, nobody can ask for them, and retention removes them.
    """
    with engine.begin() as connection:
        meant = sa.and_(sa.or_(keys.c.id == id_or_name, keys.c.name == id_or_name), keys.c.revoked_at.is_(None))
        revoke = keys.update().where(meant).values(revoked_at=now()).returning(keys.c.id)
        owners = list(connection.execute(revoke).scalars())
        if not owners:
            raise KeyRefused(f"there is no valid key {id_or_name}")
        if not cancel_jobs:
            return 0
        theirs = sa.and_(jobs.c.owner.in_(owners), jobs.c.state.in_(ACTIVE))
        return len(change_jobs(connection, theirs, state="canceled", phase=None, finished_at=now()))


def _insert(connection: sa.Connection, name: str) -> str:
    token = _PREFIX + secrets.token_urlsafe(32)
    row = {"id": secrets.token_hex(8), "name": name, "digest": digest_of(token), "created_at": now()}
    connection.execute(keys.insert().values(**row))
    return token


def _lock(connection: sa.Connection) -> None:
    """What is looked for next is still so when the key is added."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
