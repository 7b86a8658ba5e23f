"""What is counted, and when one more is too many; on every database."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from app.errors import AppError, DiskFull, Problem, QueueFull, QuotaExceeded, TooManyJobs
from app.jobs import table
from app.jobs.database import open_database
from app.jobs.job import Input, Output
from app.jobs.quotas import Quotas, Usage, lock_admission, read_usage
from app.jobs.schema import create_tables, jobs
from app.options import FuseOptions

_OUTPUT = Output("a.fused.pt", 70, "0" * 64, "k/model", "k/report")


def _insert(engine: sa.Engine, job_id: str, size: int = 100) -> None:
    with engine.begin() as connection:
        table.insert_job(connection, job_id, FuseOptions(), Input("a.pt", size, "0" * 64, "k"))


def _usage(engine: sa.Engine) -> Usage:
    with engine.connect() as connection:
        return read_usage(connection)


def test_a_job_counts_with_its_file_and_a_result_of_the_same_size_until_there_is_one(engine: sa.Engine) -> None:
    _insert(engine, "a")
    assert _usage(engine) == Usage(active=1, stored_bytes=100, expected_bytes=100)
    job = table.claim_job(engine, "a", "w")
    assert job is not None
    assert _usage(engine) == Usage(1, 100, 100)

    table.publish(engine, job, _OUTPUT)

    assert _usage(engine) == Usage(0, 170, 0)
    table.expire(engine, "a")
    assert _usage(engine) == Usage(0, 0, 0)


def test_of_many_at_once_no_more_are_admitted_than_the_limit(engine: sa.Engine) -> None:
    quotas = Quotas(3, 0, 0, 0)

    def admit(number: int) -> bool:
        with engine.begin() as connection:
            lock_admission(connection)
            try:
                quotas.check(read_usage(connection), None, 1)
            except QueueFull:
                return False
            table.insert_job(connection, f"job-{number}", FuseOptions(), Input("a.pt", 1, "0" * 64, "k"))
            return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(admit, range(12))) == 3


def test_a_failed_job_keeps_its_file_and_a_canceled_one_nothing(engine: sa.Engine) -> None:
    for job_id in ("a", "b"):
        _insert(engine, job_id)
    job = table.claim_job(engine, "a", "w")
    assert job is not None

    table.fail(engine, job, Problem("x", 422, "x", "x"))
    table.cancel(engine, "b")

    assert _usage(engine) == Usage(0, 100, 0)


def test_a_database_of_the_version_before_is_brought_up_to_date_and_its_jobs_are_counted(database_url: str) -> None:
    engine = open_database(database_url)
    create_tables(engine)
    files = {"filename": "a", "bytes": 100, "sha256": "0", "key": "k"}
    result = {"filename": "a", "bytes": 70, "sha256": "0", "model_key": "k", "report_key": "k"}
    with engine.begin() as connection:
        for column in ("input_bytes", "output_bytes", "recognised"):
            connection.execute(sa.text(f"ALTER TABLE fusebox_jobs DROP COLUMN {column}"))
        for job_id, state, output in [("a", "queued", None), ("b", "succeeded", result)]:
            row = {"id": job_id, "state": state, "options": {}, "input": files, "output": output, "created_at": 0.0}
            connection.execute(jobs.insert().values(**row))

    for _ in range(2):
        create_tables(engine)

    assert _usage(engine) == Usage(1, 270, 100)
    job = table.read_job(engine, "a")
    assert job is not None
    assert (job.state, job.input.bytes) == ("queued", 100)
    engine.dispose()


@pytest.mark.parametrize(
    ("limits", "everything", "own", "error"),
    [
        ((2, 0, 0, 0), Usage(1, 0, 0), None, None),
        ((2, 0, 0, 0), Usage(2, 0, 0), None, QueueFull),
        ((0, 2, 0, 0), Usage(9, 0, 0), Usage(1, 0, 0), None),
        ((0, 2, 0, 0), Usage(9, 0, 0), Usage(2, 0, 0), TooManyJobs),
        ((0, 0, 1000, 0), Usage(0, 700, 100), None, None),
        ((0, 0, 1000, 0), Usage(0, 700, 101), None, DiskFull),
        ((0, 0, 0, 1000), Usage(0, 9999, 0), Usage(0, 700, 100), None),
        ((0, 0, 0, 1000), Usage(0, 9999, 0), Usage(0, 701, 100), QuotaExceeded),
        ((0, 0, 0, 0), Usage(9999, 9999, 9999), Usage(9999, 9999, 9999), None),
    ],
)
def test_each_limit_holds_by_itself(
    limits: tuple[int, int, int, int], everything: Usage, own: Usage | None, error: type[AppError] | None
) -> None:
    quotas = Quotas(*limits)

    if error is None:
        quotas.check(everything, own, 100)
        return
    with pytest.raises(error) as caught:
        quotas.check(everything, own, 100)
    assert caught.value.remedy
