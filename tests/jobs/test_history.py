"""Following jobs: events in the transaction of each change, standings of many, pages of a list; on every database."""

import threading
from dataclasses import replace

import pytest
import sqlalchemy as sa

from app.errors import Problem, WorkerCrashed
from app.jobs import table
from app.jobs.database import now
from app.jobs.history import Place, Standing, list_jobs, read_since, read_standings
from app.jobs.job import Input, Job, Output
from app.jobs.keys import add_key, revoke_key
from app.jobs.schema import create_tables, events, jobs, keys
from app.options import FuseOptions
from app.report import Recognised

_INPUT = Input("yolov7.pt", 10, "ab" * 32, "a/input")
_OUTPUT = Output("yolov7.fused.pt", 9, "cd" * 32, "a/1/model", "a/1/report.json")
_PROBLEM = Problem.of(WorkerCrashed("It died.", remedy="Try again.", signal="SEGV"))
_RECOGNISED = Recognised(
    format="torch-zip", family="YOLOv7", source="ema", model_class="M", dtype="float16", parameters=6
)


def _accept(engine: sa.Engine, job_id: str, owner: str | None = None) -> None:
    with engine.begin() as connection:
        table.insert_job(connection, job_id, FuseOptions(), _INPUT, owner)


def _claim(engine: sa.Engine, job_id: str) -> Job:
    job = table.claim_job(engine, job_id, "w")
    assert job is not None
    return job


def _told(engine: sa.Engine, job_id: str, number: int = 0) -> list[tuple[int, str, str | None]]:
    return [(one.revision, one.state, one.phase) for one in read_since(engine, job_id, number)[1]]


def test_each_change_of_a_job_is_an_event_with_the_job_as_it_was_then(engine: sa.Engine) -> None:
    _accept(engine, "a")
    job = _claim(engine, "a")
    table.set_phase(engine, job, "reading")
    table.set_recognised(engine, job, _RECOGNISED)
    table.publish(engine, job, _OUTPUT)
    table.expire(engine, "a")

    present, past = read_since(engine, "a", 0)

    assert [(one.revision, one.state, one.phase) for one in past] == [
        (1, "queued", None),
        (2, "running", "validating"),
        (3, "running", "reading"),
        (4, "running", "reading"),
        (5, "succeeded", None),
        (6, "expired", None),
    ]
    assert [one.recognised for one in past] == [None] * 3 + [_RECOGNISED] * 3
    assert [one.output for one in past] == [None] * 4 + [_OUTPUT, None]
    assert [one.attempt for one in past] == [0] + [1] * 5
    assert past[0].started_at is None
    assert past[4].finished_at == past[5].finished_at is not None
    assert present == past[-1]
    assert _told(engine, "a", 4) == [(5, "succeeded", None), (6, "expired", None)]
    assert _told(engine, "a", 6) == []
    assert read_since(engine, "b", 0) == (None, [])


def test_a_change_that_changes_nothing_is_no_event(engine: sa.Engine) -> None:
    _accept(engine, "a")
    late = _claim(engine, "a")
    _claim(engine, "a")

    assert not table.set_phase(engine, late, "writing")
    assert not table.fail(engine, late, _PROBLEM)
    assert not table.expire(engine, "a")

    assert [one[0] for one in _told(engine, "a")] == [1, 2, 3]


def test_deaths_give_backs_and_cancellations_are_events_too(engine: sa.Engine) -> None:
    _accept(engine, "a")
    table.give_back(engine, _claim(engine, "a"), _PROBLEM, 2)
    _claim(engine, "a")
    with engine.begin() as connection:
        table.give_back_from(connection, "a", "w", died=False, max_deaths=2)
    table.give_back(engine, _claim(engine, "a"), _PROBLEM, 2)
    _accept(engine, "b")
    table.cancel(engine, "b")

    states = ["queued", "running", "queued", "running", "queued", "running", "failed"]
    assert [state for _, state, _ in _told(engine, "a")] == states
    assert read_since(engine, "a", 6)[1][0].problem == _PROBLEM
    assert [state for _, state, _ in _told(engine, "b")] == ["queued", "canceled"]


def test_jobs_that_are_canceled_with_their_key_tell_it(engine: sa.Engine) -> None:
    add_key(engine, "alice")
    with engine.connect() as connection:
        owner = connection.execute(sa.select(keys.c.id)).scalar_one()
    for job_id in ("a", "b"):
        _accept(engine, job_id, owner)

    assert revoke_key(engine, "alice", cancel_jobs=True) == 2

    assert [_told(engine, job_id, 1) for job_id in ("a", "b")] == [[(2, "canceled", None)]] * 2


def test_a_transaction_that_is_undone_leaves_no_event(engine: sa.Engine) -> None:
    _accept(engine, "a")

    with engine.connect() as connection:
        table.change_jobs(connection, jobs.c.id == "a", state="canceled")
        connection.rollback()

    assert _told(engine, "a") == [(1, "queued", None)]


def test_changes_at_the_same_time_are_numbered_without_gaps(engine: sa.Engine) -> None:
    _accept(engine, "a")
    threads = [threading.Thread(target=table.claim_job, args=(engine, "a", f"w{n}")) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    past = read_since(engine, "a", 0)[1]
    assert [one.revision for one in past] == list(range(1, 10))
    assert [one.attempt for one in past] == list(range(9))


def test_standings_tell_revision_state_and_place_in_the_queue(engine: sa.Engine) -> None:
    for job_id in ("a", "b", "c", "d"):
        _accept(engine, job_id)
    _claim(engine, "a")
    table.cancel(engine, "c")

    found = read_standings(engine, ["a", "b", "c", "d", "gone"])

    assert found == {
        "a": Standing(2, "running", None),
        "b": Standing(1, "queued", 1),
        "c": Standing(2, "canceled", None),
        "d": Standing(1, "queued", 2),
    }
    assert read_standings(engine, []) == {}
    for job_id, place in (("b", 1), ("d", 2), ("a", None)):
        job = table.read_job(engine, job_id)
        assert job is not None
        assert job.queue_position == place
    assert len(read_standings(engine, [str(number) for number in range(2000)] + ["d"])) == 1


def _pages(engine: sa.Engine, owner: str | None, size: int) -> list[str]:
    found: list[str] = []
    after = None
    while page := list_jobs(engine, owner, size, after):
        found += [job.id for job in page]
        after = Place(page[-1].created_at, page[-1].id)
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_pages_hold_an_owners_jobs_newest_first_and_each_once(engine: sa.Engine, size: int) -> None:
    for number in range(7):
        _accept(engine, f"mine{number}", "me")
        _accept(engine, f"theirs{number}", "them")
        _accept(engine, f"free{number}")

    assert _pages(engine, "me", size) == [f"mine{number}" for number in reversed(range(7))]
    assert _pages(engine, None, size) == [f"free{number}" for number in reversed(range(7))]
    assert _pages(engine, "nobody", size) == []


def test_jobs_of_the_same_moment_are_told_apart(engine: sa.Engine) -> None:
    for job_id in ("b", "c", "a"):
        _accept(engine, job_id)
    with engine.begin() as connection:
        connection.execute(jobs.update().values(created_at=1.0 / 3))

    assert _pages(engine, None, 1) == ["c", "b", "a"]


def test_a_page_follows_its_place_whatever_came_and_went_meanwhile(engine: sa.Engine) -> None:
    for number in range(6):
        _accept(engine, f"{number}")
    first = list_jobs(engine, None, 2)
    _accept(engine, "newer")
    with engine.begin() as connection:
        connection.execute(jobs.delete().where(jobs.c.id.in_(["4", "5"])))

    later = list_jobs(engine, None, 2, Place(first[-1].created_at, first[-1].id))

    assert [job.id for job in first + later] == ["5", "4", "3", "2"]


def test_a_list_may_hold_one_state_only(engine: sa.Engine) -> None:
    for job_id in ("a", "b", "c"):
        _accept(engine, job_id)
    table.cancel(engine, "b")

    assert [job.id for job in list_jobs(engine, None, 9, state="queued")] == ["c", "a"]
    assert [job.id for job in list_jobs(engine, None, 9, state="canceled")] == ["b"]
    assert [job.queue_position for job in list_jobs(engine, None, 9)] == [2, None, 1]


def test_jobs_of_a_table_without_events_begin_their_history_where_they_stand(engine: sa.Engine) -> None:
    _accept(engine, "done")
    table.publish(engine, _claim(engine, "done"), _OUTPUT)
    _accept(engine, "waiting")
    with engine.begin() as connection:
        events.drop(connection)
        for index in ("fusebox_jobs_of_owner", "fusebox_jobs_once"):
            connection.execute(sa.text(f"DROP INDEX {index}"))
        for column in ("probe", "revision", "idempotency"):
            connection.execute(sa.text(f"ALTER TABLE fusebox_jobs DROP COLUMN {column}"))

    for _ in range(2):
        create_tables(engine)

    names = {index["name"] for index in sa.inspect(engine).get_indexes("fusebox_jobs")}
    assert {"fusebox_jobs_of_owner", "fusebox_jobs_once"} <= names
    assert _told(engine, "done") == [(1, "succeeded", None)]
    assert read_since(engine, "done", 0)[1][0].output == _OUTPUT
    _claim(engine, "waiting")
    assert _told(engine, "waiting") == [(1, "queued", None), (2, "running", "validating")]


def test_what_a_worker_of_the_version_before_writes_is_kept(engine: sa.Engine) -> None:
    _accept(engine, "a")
    with engine.begin() as connection:  # it knows nothing of events
        connection.execute(jobs.update().values(state="running", attempt=1, started_at=now()))

    job, past = read_since(engine, "a", 0)

    assert job is not None
    assert (job.state, job.revision, [one.revision for one in past]) == ("running", 1, [1])
    assert table.fail(engine, job, _PROBLEM)
    assert _told(engine, "a", 1) == [(2, "failed", None)]


def test_the_callers_own_inputs_stand_beside_the_upload_and_count(engine: sa.Engine) -> None:
    probe = replace(_INPUT, filename="x.npy", bytes=90, key="a/probe")
    with engine.begin() as connection:
        table.insert_job(connection, "a", FuseOptions(), _INPUT, probe=probe)

    job = table.read_job(engine, "a")

    assert job is not None
    assert (job.input, job.probe) == (_INPUT, probe)
    with engine.connect() as connection:
        assert connection.execute(sa.select(jobs.c.input_bytes)).scalar_one() == 100
