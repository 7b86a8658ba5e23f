"""`fusebox keys add | list | revoke`: the API keys of a service, in its database."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import sqlalchemy as sa
import typer

from app.jobs.keys import KeyRefused, add_key, given_owner, list_keys, revoke_key
from app.jobs.opening import open_prepared
from app.settings import Settings, make_data_dir


def add(settings: Settings, name: str) -> int:
    """Print the new key alone on standard output, so that a script can take it."""
    with _database(settings) as engine:
        try:
            token = add_key(engine, name)
        except KeyRefused as error:
            return _refuse(error)
    typer.echo(f"This is the only time that the key of {name} is shown:", err=True)
    typer.echo(token)
    return 0


def show(settings: Settings) -> int:
    """Print every key but for the key itself."""
    with _database(settings) as engine:
        rows = [
            (one.id, one.name, _day(one.created_at), f"revoked {_day(one.revoked_at)}" if one.revoked_at else "valid")
            for one in list_keys(engine)
        ]
    rows += [(given_owner(name), name, "-", "given by setting") for name in sorted(settings.given_keys())]
    for row in [("ID", "NAME", "MADE", "STATE"), *rows]:
        typer.echo("  ".join(part.ljust(width) for part, width in zip(row, (24, 24, 20, 0), strict=True)).rstrip())
    return 0


def revoke(settings: Settings, id_or_name: str, cancel_jobs: bool) -> int:
    """Revoke a key, and cancel what it has left if asked."""
    with _database(settings) as engine:
        try:
            canceled = revoke_key(engine, id_or_name, cancel_jobs=cancel_jobs)
        except KeyRefused as error:
            return _refuse(error)
    typer.echo(f"{id_or_name} is revoked" + (f"; {canceled} of its jobs were canceled" if cancel_jobs else ""))
    return 0


@contextmanager
def _database(settings: Settings) -> Iterator[sa.Engine]:
    make_data_dir(settings)
    engine = open_prepared(settings.database)
    try:
        yield engine
    finally:
        engine.dispose()


def _refuse(error: KeyRefused) -> int:
    typer.echo(f"fusebox: {error}", err=True)
    return 1


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%MZ")
