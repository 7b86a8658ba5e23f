"""`fusebox health worker`: whether a worker that runs beside this command is well. It has no address to ask."""

import socket

import sqlalchemy as sa
import typer

from app.jobs.database import open_database
from app.jobs.present import workers_of
from app.settings import Settings


def look(settings: Settings) -> int:
    """Print which workers of this host were heard of lately; the exit code is 0 if there is one.

    The host's name is a container's own, so that one worker's life is not taken for another's.
    """
    host = socket.gethostname()
    engine = open_database(settings.database)
    try:
        found = workers_of(engine, host, settings.dead_after_seconds)
    except sa.exc.SQLAlchemyError as error:
        typer.echo(f"the database can't be asked: {type(error).__name__}")
        return 1
    finally:
        engine.dispose()
    typer.echo("\n".join(found) or f"no worker of {host} was heard of in the last {settings.dead_after_seconds:g} s")
    return 0 if found else 1
