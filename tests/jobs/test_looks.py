"""Which queued jobs are looked at, and what becomes of it."""

import pytest
import sqlalchemy as sa

from app.jobs import looks, table
from app.jobs.job import Input
from app.jobs.schema import events, jobs
from app.options import FuseOptions
from app.report import Recognised

FOUND = Recognised(
    format="torch-zip", family="YOLOv7", source="ema", model_class="Model", dtype="float16", parameters=9
)


def accept(engine: sa.Engine, *ids: str) -> None:
    for job_id in ids:
        with engine.begin() as connection:
            table.insert_job(connection, job_id, FuseOptions(), Input("m.pt", 1, "0" * 64, f"{job_id}/input"))


def looked(engine: sa.Engine) -> str | None:
    job = looks.take_look(engine)
    return None if job is None else job.id


def test_each_queued_job_is_looked_at_once_in_the_order_of_acceptance(engine: sa.Engine) -> None:
    accept(engine, "a", "b", "c")
    table.claim_job(engine, "b", "w")
    assert [looked(engine), looked(engine), looked(engine)] == ["a", "c", None]


def test_what_was_recognised_stands_in_the_job_while_it_waits_and_is_an_event(engine: sa.Engine) -> None:
    accept(engine, "a")
    looks.take_look(engine)
    assert looks.recognise(engine, "a", FOUND)
    job = table.read_job(engine, "a")
    assert job is not None
    assert (job.state, job.recognised) == ("queued", FOUND)
    assert not looks.recognise(engine, "a", FOUND)
    with engine.connect() as connection:
        told = list(connection.execute(sa.select(events.c.change).order_by(events.c.number)).scalars())
    assert [change["recognised"] is not None for change in told] == [False, True]
    assert looked(engine) is None


def test_a_job_whose_turn_has_come_is_told_by_its_own_child(engine: sa.Engine) -> None:
    accept(engine, "a")
    looks.take_look(engine)
    assert looks.is_waiting(engine, "a")
    table.claim_job(engine, "a", "w")
    assert not looks.is_waiting(engine, "a")
    assert not looks.recognise(engine, "a", FOUND)
    job = table.read_job(engine, "a")
    assert job is not None
    assert (job.state, job.recognised) == ("running", None)


def test_a_look_that_was_lost_with_its_worker_is_taken_again(engine: sa.Engine) -> None:
    accept(engine, "a", "b")
    assert looked(engine) == "a"
    with engine.begin() as connection:
        connection.execute(jobs.update().where(jobs.c.id == "a").values(looked_at=jobs.c.looked_at - 3600))
    assert looked(engine) == "a"


@pytest.mark.parametrize("seconds", [0, 10_000_000])
def test_a_look_without_a_result_is_not(engine: sa.Engine, seconds: float) -> None:
    accept(engine, "a")
    looks.take_look(engine)
    looks.look_no_more(engine, "a")
    with engine.begin() as connection:
        connection.execute(jobs.update().values(looked_at=jobs.c.looked_at - seconds))
    assert looked(engine) is None
