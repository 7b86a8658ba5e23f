"""`fusebox health worker`: whether a worker that runs beside this command is well. It has no address to ask."""

import socket
from pathlib import Path

import sqlalchemy as sa
import typer

from app.jobs.database import open_database, words_of_driver
from app.jobs.present import workers_of
from app.jobs.refused import read_refusals
from app.settings import Settings


def look(settings: Settings) -> int:
    """Print which workers of this host were heard of lately, or why none is; the exit code is 0 if there is one.

    The host's name is a container's own, so that one worker's life is not taken for another's.
    """
    host = socket.gethostname()
    try:
        found, refused = _asked(settings, host)
    except sa.exc.DBAPIError as error:
        typer.echo(f"the database can't be asked: {words_of_driver(error)}")
        return 1
    except FileNotFoundError as error:
        typer.echo(f"the database can't be asked: {error}")
        return 1
    except (sa.exc.SQLAlchemyError, ValueError, OSError) as error:
        typer.echo(f"the database can't be asked: {type(error).__name__}")
        return 1
    nobody = f"no worker of {host} was heard of in the last {settings.dead_after_seconds:g} s"
    typer.echo("\n".join(found or [nobody, *refused]))
    return 0 if found else 1


def _asked(settings: Settings, host: str) -> tuple[list[str], list[str]]:
    """Workers of this host that live, and what those say that refuse to. Creates nothing. Raises FileNotFoundError."""
    url = sa.make_url(settings.database)
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        raise FileNotFoundError(f"there is none at {url.database}")
    engine = open_database(settings.database)
    try:
        found = workers_of(engine, host, settings.dead_after_seconds)
        refused = [] if found else read_refusals(engine, host)
    finally:
        engine.dispose()
    return found, [f"{one.code}: {one.detail} {one.remedy}" for one in refused]
