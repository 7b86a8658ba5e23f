"""The first look of a process at the database: it can be reached, keeps any text, and has all tables."""

import sqlalchemy as sa

from app.errors import CanNotStart
from app.jobs.database import open_database, words_of_driver
from app.jobs.queue import prepare_queue
from app.jobs.schema import create_tables


def open_prepared(url: str) -> sa.Engine:
    """An engine over a database with all tables, those that were missing created. Raises CanNotStart."""
    try:
        engine = open_database(url)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise CanNotStart(f"FUSEBOX_DATABASE_URL is no address of a database: {error}") from None
    except OSError as error:
        raise CanNotStart(f"FUSEBOX_DATABASE_URL names {error.filename}: {error.strerror}") from None
    try:
        _check_encoding(engine)
        prepare_queue(url)
        create_tables(engine)
    except sa.exc.DBAPIError as error:
        engine.dispose()
        raise CanNotStart(f"the database can't be used: {words_of_driver(error)}") from None
    return engine


def _check_encoding(engine: sa.Engine) -> None:
    """Names of files and layers are any text."""
    if engine.dialect.name != "postgresql":
        return
    with engine.connect() as connection:
        encoding = connection.execute(sa.text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        engine.dispose()
        raise CanNotStart(
            f"the database can't be used: its encoding is {encoding}, and must be UTF8: "
            "CREATE DATABASE fusebox ENCODING 'UTF8' TEMPLATE template0"
        )
