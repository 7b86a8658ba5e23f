import threading
from dataclasses import asdict, replace

import pytest
import sqlalchemy as sa

from app.errors import Problem, WorkerCrashed
from app.jobs import table
from app.jobs.history import list_jobs
from app.jobs.job import Input, Output
from app.jobs.schema import create_tables, jobs
from app.options import FuseOptions
from app.report import Recognised

_INPUT = Input("yolov7.pt", 10, "ab" * 32, "a/input")
_OUTPUT = Output("yolov7.fused.pt", 9, "cd" * 32, "a/1/model", "a/1/report.json")
_PROBLEM = Problem.of(WorkerCrashed("It died.", remedy="Try again.", signal="SEGV"))


@pytest.fixture
def job_id(engine: sa.Engine) -> str:
    with engine.begin() as connection:
        table.insert_job(connection, "a", FuseOptions(max_error=1e-3, strict=True), _INPUT)
    return "a"


def test_a_job_is_read_as_it_was_accepted(engine: sa.Engine, job_id: str) -> None:
    job = table.read_job(engine, job_id)

    assert job is not None
    assert (job.state, job.phase, job.attempt, job.output, job.problem) == ("queued", None, 0, None, None)
    assert job.options == FuseOptions(max_error=1e-3, strict=True)
    assert job.input == _INPUT
    assert table.read_job(engine, "b") is None


def test_only_what_the_caller_asked_for_is_stored(engine: sa.Engine, job_id: str) -> None:
    with engine.connect() as connection:
        stored = connection.execute(sa.select(jobs.c.options)).scalar_one()

    # A version without the other options reads this row.
    assert stored == {"max_error": 1e-3, "strict": True}


def test_a_row_of_a_newer_version_is_read_as_far_as_it_is_known(engine: sa.Engine, job_id: str) -> None:
    found = Recognised(
        format="onnx", family=None, source="", model_class="", classes=None, dtype="float32", parameters=3
    )
    newer = {
        "options": {"strict": True, "dtype": "float4", "turbo": 9},
        "input": {**asdict(_INPUT), "md5": "x"},
        "output": {**asdict(_OUTPUT), "signature": "x"},
        "problem": {**asdict(_PROBLEM), "hint": "x"},
        "recognised": {**found.model_dump(mode="json"), "sparsity": 0.5},
        "phase": "signing",
    }
    with engine.begin() as connection:
        connection.execute(jobs.update().values(**newer))

    job = table.read_job(engine, job_id)

    assert job is not None
    assert (job.options, job.unknown_options) == (FuseOptions(strict=True), ("dtype", "turbo"))
    assert (job.input, job.output, job.problem, job.phase) == (_INPUT, _OUTPUT, _PROBLEM, None)
    assert job.recognised == found
    with engine.begin() as connection:
        connection.execute(jobs.update().values(recognised={"sparsity": 0.5}))
    assert list_jobs(engine, None, 10)[0].recognised is None


@pytest.mark.parametrize("odd", ["", "a\0b", "\0", "\ufffd", "' OR '1'='1", "a" * 10_000])
def test_an_id_that_no_job_has_finds_none(engine: sa.Engine, odd: str) -> None:
    assert table.read_job(engine, odd) is None


def test_jobs_keep_the_order_of_their_acceptance(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        places = [table.insert_job(connection, f"job-{n}", FuseOptions(), _INPUT) for n in range(5)]

    assert places == sorted(set(places))


def test_a_claimed_job_that_succeeds_holds_its_result(engine: sa.Engine, job_id: str) -> None:
    job = table.claim_job(engine, job_id, "w")
    assert job is not None
    assert table.set_phase(engine, job, "fusing")

    assert table.publish(engine, job, _OUTPUT)

    ended = table.read_job(engine, job_id)
    assert ended is not None
    assert (ended.state, ended.phase, ended.output, ended.attempt) == ("succeeded", None, _OUTPUT, 1)
    assert ended.started_at is not None
    assert ended.finished_at is not None
    assert ended.created_at <= ended.started_at <= ended.finished_at
    assert table.claim_job(engine, job_id, "w") is None


def test_a_late_attempt_changes_nothing_any_more(engine: sa.Engine, job_id: str) -> None:
    late = table.claim_job(engine, job_id, "slow")
    current = table.claim_job(engine, job_id, "quick")
    assert late is not None
    assert current is not None

    assert not table.is_mine(engine, late)
    assert not table.set_phase(engine, late, "writing")
    assert not table.publish(engine, late, replace(_OUTPUT, sha256="00" * 32))
    assert not table.fail(engine, late, _PROBLEM)
    assert not table.give_back(engine, late, _PROBLEM, 3)

    assert table.publish(engine, current, _OUTPUT)
    ended = table.read_job(engine, job_id)
    assert ended is not None
    assert ended.output == _OUTPUT


def test_an_attempt_that_died_is_tried_again_until_there_were_too_many(engine: sa.Engine, job_id: str) -> None:
    outcomes = []
    while (job := table.claim_job(engine, job_id, "w")) is not None:
        outcomes.append(table.give_back(engine, job, _PROBLEM, 3))

    ended = table.read_job(engine, job_id)
    assert outcomes == [True, True, False]
    assert ended is not None
    assert (ended.state, ended.problem) == ("failed", _PROBLEM)


def test_a_worker_that_left_in_order_costs_its_job_no_attempt(engine: sa.Engine, job_id: str) -> None:
    for _ in range(5):
        assert table.claim_job(engine, job_id, "w") is not None
        with engine.begin() as connection:
            table.give_back_from(connection, job_id, "w", died=False, max_deaths=1)

    job = table.read_job(engine, job_id)
    assert job is not None
    assert (job.state, job.attempt) == ("queued", 5)


def test_a_dead_worker_loses_only_what_it_still_holds(engine: sa.Engine, job_id: str) -> None:
    table.claim_job(engine, job_id, "dead")
    table.claim_job(engine, job_id, "heir")

    with engine.begin() as connection:
        table.give_back_from(connection, job_id, "dead", died=True, max_deaths=1)

    job = table.read_job(engine, job_id)
    assert job is not None
    assert (job.state, job.worker) == ("running", "heir")


def test_canceling_ends_a_job_once(engine: sa.Engine, job_id: str) -> None:
    job = table.claim_job(engine, job_id, "w")
    assert job is not None

    assert table.cancel(engine, job_id)

    assert not table.cancel(engine, job_id)
    assert not table.is_mine(engine, job)
    assert not table.publish(engine, job, _OUTPUT)


def test_only_a_finished_job_expires_and_it_forgets_its_result(engine: sa.Engine, job_id: str) -> None:
    assert not table.expire(engine, job_id)
    job = table.claim_job(engine, job_id, "w")
    assert job is not None
    table.publish(engine, job, _OUTPUT)

    assert table.expire(engine, job_id)

    expired = table.read_job(engine, job_id)
    assert expired is not None
    assert (expired.state, expired.output) == ("expired", None)


def test_of_many_claims_at_once_exactly_one_holds_the_job(engine: sa.Engine, job_id: str) -> None:
    claimed = []
    threads = [
        threading.Thread(target=lambda n=n: claimed.append(table.claim_job(engine, job_id, f"w{n}"))) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(job.attempt for job in claimed) == list(range(1, 9))
    assert [table.is_mine(engine, job) for job in claimed].count(True) == 1


def test_tables_may_be_created_by_several_processes_at_once(engine: sa.Engine) -> None:
    errors: list[BaseException] = []

    def create() -> None:
        try:
            create_tables(engine)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=create) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not errors


_RECOGNISED = Recognised(
    format="torch-zip",
    family="YOLOv7",
    source="ema",
    model_class="models.yolo.Model",
    classes=80,
    dtype="float16",
    parameters=6_000_000,
    input_size=(3, 640, 640),
)


def test_what_was_recognised_stays_with_the_job_of_the_attempt_that_told_it(engine: sa.Engine, job_id: str) -> None:
    job = table.claim_job(engine, job_id, "w")
    assert job is not None

    assert table.set_recognised(engine, job, _RECOGNISED)

    found = table.read_job(engine, job_id)
    assert found is not None
    assert found.recognised == _RECOGNISED
    assert not table.set_recognised(engine, replace(job, attempt=2), _RECOGNISED)


def test_a_table_of_an_older_version_gets_the_columns_that_it_lacks_and_keeps_its_jobs(
    engine: sa.Engine, job_id: str
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE fusebox_jobs DROP COLUMN recognised"))

    create_tables(engine)
    create_tables(engine)

    job = table.read_job(engine, job_id)
    assert job is not None
    assert job.recognised is None
    assert job.input == _INPUT
    claimed = table.claim_job(engine, job_id, "w")
    assert claimed is not None
    assert table.set_recognised(engine, claimed, _RECOGNISED)
