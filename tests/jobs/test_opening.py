"""Databases that a process can't start on, against a real Postgres."""

import pytest
import sqlalchemy as sa

from app.errors import CanNotStart
from app.jobs.opening import open_prepared


def test_a_database_gets_its_tables_once(database_url: str) -> None:
    for _ in range(2):
        engine = open_prepared(database_url)
        assert "fusebox_jobs" in sa.inspect(engine).get_table_names()
        engine.dispose()


def test_a_database_that_can_not_keep_any_text_is_told_with_what_to_do(postgres: str) -> None:
    engine = sa.create_engine(f"{postgres}/postgres".replace("://", "+psycopg://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(
            sa.text("CREATE DATABASE bytes ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        )
    engine.dispose()

    with pytest.raises(CanNotStart, match="SQL_ASCII, and must be UTF8: CREATE DATABASE"):
        open_prepared(f"{postgres}/bytes")


@pytest.mark.parametrize(
    ("path", "said"),
    [("@127.0.0.1:1/fusebox", "connection failed"), ("/nowhere", "does not exist")],
    ids=["nobody listens", "no such database"],
)
def test_a_database_that_is_not_there_is_told_without_a_password(postgres: str, path: str, said: str) -> None:
    url = f"{postgres}{path}" if path == "/nowhere" else f"postgresql://fusebox:secret{path}"

    with pytest.raises(CanNotStart, match=said) as raised:
        open_prepared(url)

    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://fusebox:secret@host:port/x", "is no address of a database"),
        ("sqlite:////proc/nowhere/fusebox.sqlite", "names /proc/nowhere: No such file or directory"),
    ],
)
def test_an_address_that_leads_nowhere_is_told(url: str, said: str) -> None:
    with pytest.raises(CanNotStart, match=said) as raised:
        open_prepared(url)

    assert "secret" not in str(raised.value)
