"""What workers say that refuse to start, in SQLite and Postgres."""

import threading
import time
from dataclasses import replace

import sqlalchemy as sa

from app.jobs.refused import Refusal, forget_refusals, read_refusals, tell_refusal
from app.jobs.schema import create_tables, refused

_NO_GPU = Refusal("cuda", "device-unusable", "no-gpu", "no-gpu: there is none.", "Give it one.")
_UNCONFINED = Refusal("cpu", "not-confined", "no-landlock", "no-landlock: there is none.", "Take another kernel.")


def _told(engine: sa.Engine, host: str | None = None) -> list[Refusal]:
    return [replace(one, refused_at=0.0) for one in read_refusals(engine, host)]


def test_each_host_and_device_has_its_latest_word_and_the_latest_comes_first(engine: sa.Engine) -> None:
    began = time.time()
    for host, said in (("a", _NO_GPU), ("b", _UNCONFINED), ("a", replace(_NO_GPU, reason="gpu-broken"))):
        tell_refusal(engine, host, said)

    assert _told(engine) == [replace(_NO_GPU, reason="gpu-broken"), _UNCONFINED]
    assert _told(engine, "b") == [_UNCONFINED]
    assert _told(engine, "c") == []
    assert all(began - 60 < one.refused_at < time.time() + 60 for one in read_refusals(engine))


def test_a_worker_that_works_settles_what_was_said(engine: sa.Engine) -> None:
    tell_refusal(engine, "a", _NO_GPU)

    forget_refusals(engine)

    assert read_refusals(engine) == []
    tell_refusal(engine, "a", _NO_GPU)
    assert _told(engine) == [_NO_GPU]


def test_what_was_said_long_ago_is_told_no_more_and_goes_with_the_next_word(engine: sa.Engine) -> None:
    tell_refusal(engine, "old", _UNCONFINED)
    with engine.begin() as connection:
        connection.execute(refused.update().values(refused_at=refused.c.refused_at - 3600))

    assert read_refusals(engine) == []
    tell_refusal(engine, "new", _NO_GPU)
    with engine.connect() as connection:
        assert connection.execute(sa.select(refused.c.host)).scalars().all() == ["new"]


def test_a_text_is_one_line_of_bounded_length(engine: sa.Engine) -> None:
    tell_refusal(engine, "a", replace(_NO_GPU, detail="CUDA\n\x1b[31m error " + "x" * 5000))

    (one,) = read_refusals(engine)
    assert (len(one.detail), one.detail[:12], one.detail[-3:]) == (1000, "CUDA  [31m e", "...")
    assert one.detail.isprintable()


def test_a_path_is_not_told(engine: sa.Engine) -> None:
    said = "libcuda.so.1: can't open /usr/lib/x86_64-linux-gnu/libcuda.so.1, or '/srv/a b'; see deploy/x, 1/2 of it"

    tell_refusal(engine, "a", replace(_NO_GPU, detail=said))

    told = "libcuda.so.1: can't open [path], or '[path] b'; see deploy/x, 1/2 of it"
    assert _told(engine)[0].detail == told


def test_many_may_say_it_at_once(engine: sa.Engine) -> None:
    said = [threading.Thread(target=tell_refusal, args=(engine, f"h{n % 2}", _NO_GPU)) for n in range(8)]
    for one in said:
        one.start()
    for one in said:
        one.join()

    assert _told(engine) == [_NO_GPU, _NO_GPU]


def test_a_database_of_an_older_version_gets_the_table(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE fusebox_refused_workers"))

    create_tables(engine)

    tell_refusal(engine, "a", _NO_GPU)
    assert _told(engine) == [_NO_GPU]
