"""Following a job over real HTTP: events with numbers, replay, heartbeats; long polls; through restarts and crowds."""

import itertools
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from app.jobs.database import open_database
from app.jobs.keys import add_key, revoke_key

_ROOT = Path(__file__).resolve().parent.parent.parent
_SMALL = _ROOT / "tests/data/acnet/blocks.pt"
_FILE = [("model", ("a.pt", b"PK not really"))]


class Event(NamedTuple):
    number: int
    kind: str
    job: dict[str, Any]


def _parsed(lines: Iterator[str]) -> Iterator[Event]:
    """The events of a stream, by the rules of the HTML standard as far as they matter here."""
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith((":", "retry:")):
            continue
        if not line and "data" in fields:
            yield Event(int(fields["id"]), fields["event"], json.loads(fields["data"]))
            fields = {}
        elif line:
            name, _, value = line.partition(":")
            assert name not in fields
            fields[name] = value.removeprefix(" ")


def _follow(server: Any, job_id: str, after: int | None = None, **headers: str) -> list[Event]:
    """All events until the stream ends."""
    given = {} if after is None else {"after": str(after)}
    path = f"/v1/jobs/{job_id}/events"
    with server.http.stream("GET", path, params=given, headers=headers, timeout=60) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        return list(_parsed(answer.iter_lines()))


@pytest.fixture(scope="module")
def told(server: Any) -> tuple[str, list[Event]]:
    """A job that was followed from its acceptance to its end."""
    job_id = server.upload(_SMALL)
    return job_id, _follow(server, job_id)


def test_a_job_is_told_from_its_acceptance_to_its_end(server: Any, told: tuple[str, list[Event]]) -> None:
    job_id, events = told

    assert [one.kind for one in events] == ["job"] * (len(events) - 1) + ["done"]
    assert events[-1].job == server.job(job_id)
    numbers = [one.number for one in events]
    assert numbers == sorted(numbers)
    assert all(one.job["id"] == job_id and one.job["revision"] == one.number for one in events)
    phases = [phase for phase, _ in itertools.groupby(one.job["phase"] for one in events if one.job["phase"])]
    assert phases[-4:] == ["reading", "fusing", "verifying", "writing"]


def test_the_whole_story_is_told_again_and_any_part_of_it(server: Any, told: tuple[str, list[Event]]) -> None:
    job_id, _ = told

    every = _follow(server, job_id, 0)

    assert [one.number for one in every] == list(range(1, len(every) + 1))
    assert [one.job["state"] for one in every][:2] == ["queued", "running"]
    assert every[-1].kind == "done"
    assert _follow(server, job_id, 3) == every[3:]
    assert _follow(server, job_id, **{"Last-Event-ID": "3"}) == every[3:]
    assert _follow(server, job_id, 0, **{"Last-Event-ID": "5"}) == every[5:]
    assert _follow(server, job_id) == every[-1:]
    assert _follow(server, job_id, 10**14) == every[-1:]  # a number that was never given


def test_who_knows_the_end_is_told_to_stop_asking(server: Any, told: tuple[str, list[Event]]) -> None:
    job_id, events = told

    answer = server.http.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": str(events[-1].number)})

    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("wrong", ["x", "-1", "1.5", "9" * 40, "1 2", "0x1", "١"])
def test_a_number_that_is_none_is_refused(server: Any, told: tuple[str, list[Event]], wrong: str) -> None:
    path = f"/v1/jobs/{told[0]}/events"

    asked = [server.http.get(path, params={"after": wrong})]
    asked.append(server.http.get(path, headers={"Last-Event-ID": wrong.encode()}))

    assert [(answer.status_code, answer.json()["code"]) for answer in asked] == [(422, "invalid-option")] * 2
    assert server.http.get("/v1/jobs/none/events").json()["code"] == "job-not-found"


def test_a_job_that_is_not_done_is_not_found_where_the_status_alone_counts(api_with: Callable[..., Any]) -> None:
    api = api_with()
    job = api.http.post("/fuse", files=_FILE).json()
    early = api.http.get(job["links"]["done"])
    assert (early.status_code, early.json()["code"], early.headers["retry-after"]) == (404, "job-not-finished-yet", "1")
    assert api.http.head(job["links"]["done"]).status_code == 404

    api.http.delete(job["links"]["self"])

    late = api.http.get(job["links"]["done"])
    assert (late.status_code, late.json()["state"]) == (200, "canceled")
    assert api.http.get("/v1/jobs/none/done").json()["code"] == "job-not-found"


def test_waiting_for_a_change_ends_with_it_or_with_the_time(api_with: Callable[..., Any]) -> None:
    api = api_with()
    job = api.http.post("/fuse", files=_FILE).json()["links"]["self"]
    tag = api.http.get(job).headers["etag"]
    assert api.http.get(job, headers={"If-None-Match": '"other"'}, params={"wait": 20}).status_code == 200
    same = api.http.get(job, headers={"If-None-Match": f'"x", {tag}'}, params={"wait": 0.3})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(httpx.get, f"{api.url}{job}?wait=30", headers={"If-None-Match": tag}, timeout=40)
        time.sleep(0.3)
        assert not waiting.done()
        api.http.delete(job)
        changed = waiting.result()

    assert (changed.status_code, changed.json()["state"]) == (200, "canceled")
    assert changed.headers["etag"] != tag
    # Nothing more can happen to it: there is nothing to wait for.
    known = {"If-None-Match": changed.headers["etag"]}
    assert api.http.get(job, headers=known, params={"wait": 30}, timeout=10).status_code == 304


def test_a_job_is_ended_only_as_the_caller_saw_it_where_that_is_demanded(api_with: Callable[..., Any]) -> None:
    api = api_with()
    job = api.http.post("/fuse", files=_FILE).json()["links"]["self"]
    seen = {"If-Match": api.http.get(job).headers["etag"]}
    assert api.http.get(job, headers=seen).status_code == 200
    assert api.http.delete(job, headers={"If-Match": '"other"'}).json()["code"] == "precondition-failed"
    assert api.http.get(job).json()["state"] == "queued"

    assert api.http.delete(job, headers=seen).json()["state"] == "canceled"

    for late in (api.http.delete(job, headers=seen), api.http.get(job, headers=seen)):
        assert (late.status_code, late.json()["code"]) == (412, "precondition-failed")


def test_places_in_the_queue_are_told_as_they_change(api_with: Callable[..., Any]) -> None:
    api = api_with()
    first, second = (api.http.post("/fuse", files=_FILE).json() for _ in range(2))
    behind = second["queue_position"]
    assert behind == first["queue_position"] + 1

    with api.http.stream("GET", second["links"]["events"]) as answer:
        events = _parsed(answer.iter_lines())
        assert next(events).job["queue_position"] == behind
        httpx.delete(f"{api.url}{first['links']['self']}")
        moved = next(events)
        assert (moved.number, moved.job["queue_position"]) == (1, behind - 1)
        httpx.delete(f"{api.url}{second['links']['self']}")
        ended = next(events)
        assert (ended.number, ended.kind, ended.job["state"]) == (2, "done", "canceled")
        assert next(events, None) is None


def test_a_stream_continues_after_a_restart_where_it_was(serve: Callable[..., Any], tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'shared.sqlite'}"
    api, other = serve("api", database_url=database), serve("api", database_url=database)
    job = api.http.post("/fuse", files=_FILE).json()
    with api.http.stream("GET", job["links"]["events"]) as answer:
        lines = answer.iter_lines()
        first = next(_parsed(lines))

        api.stop()

        assert list(lines) == []  # the stream ended as streams do, and was not cut off
    # Meanwhile another process changes the job.
    assert other.http.delete(job["links"]["self"]).json()["state"] == "canceled"
    api.start()

    (missed,) = _follow(api, job["id"], **{"Last-Event-ID": str(first.number)})

    assert (missed.number, missed.kind, missed.job["state"]) == (first.number + 1, "done", "canceled")


def test_changes_that_another_process_makes_are_told(serve: Callable[..., Any], postgres: str) -> None:
    one, other = serve("api", database_url=f"{postgres}/postgres"), serve("api", database_url=f"{postgres}/postgres")
    job = one.http.post("/fuse", files=_FILE).json()

    with other.http.stream("GET", job["links"]["events"]) as answer:
        events = _parsed(answer.iter_lines())
        assert next(events).job["state"] == "queued"
        one.http.delete(job["links"]["self"])
        ended = next(events)

    assert (ended.number, ended.kind, ended.job["state"]) == (2, "done", "canceled")


def _open(api: Any, path: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", api.port), timeout=20)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return connection


def _heard(connection: socket.socket, wanted: bytes) -> bytes:
    said = b""
    while wanted not in said:
        piece = connection.recv(65536)
        assert piece, said
        said += piece
    return said


def test_a_crowd_that_follows_leaves_the_service_free_for_others(serve: Callable[..., Any]) -> None:
    api = serve("api", max_connections_per_client=1000)
    job = api.http.post("/fuse", files=_FILE).json()
    crowd = [_open(api, job["links"]["events"]) for _ in range(150)]
    crowd += [_open(api, f"{job['links']['self']}?wait=60") for _ in range(50)]
    try:
        for connection in crowd[:150]:
            _heard(connection, b"event: job")
        threads = len(os.listdir(f"/proc/{api.pid}/task"))
        # More than any pool of threads has; and whoever comes next is served all the same.
        assert threads < 60
        assert api.http.get(job["links"]["self"], timeout=5).json()["state"] == "queued"
        for connection in crowd[:75]:  # some leave without a word
            connection.close()

        api.http.delete(job["links"]["self"])

        for connection in crowd[75:150]:
            assert b"event: done" in _heard(connection, b"0\r\n\r\n")
        for connection in crowd[150:]:
            assert b'"state":"canceled"' in _heard(connection, b"}")
    finally:
        for connection in crowd:
            connection.close()
    assert "Traceback" not in api.log.read_text()
    assert "Exception" not in api.log.read_text()


def test_who_follows_is_told_that_the_stream_lives_and_nothing_after_the_key_was_revoked(
    serve: Callable[..., Any],
) -> None:
    api = serve("api", auth="required")
    engine = open_database(f"sqlite:///{api.data_dir / 'fusebox.sqlite'}")
    key = {"Authorization": f"Bearer {add_key(engine, 'alice')}"}
    job = api.http.post("/fuse", files=_FILE, headers=key).json()
    with api.http.stream("GET", job["links"]["events"], headers=key, timeout=40) as answer:
        lines = answer.iter_lines()
        assert next(_parsed(lines)).number == 1
        revoke_key(engine, "alice")

        rest = list(lines)

    engine.dispose()
    assert rest == [":" + " ", ""]  # one sign of life, then the end


def test_a_worker_that_is_killed_and_replaced_is_part_of_the_story(serve: Callable[..., Any], long_job: Path) -> None:
    server = serve()
    job_id = server.upload(long_job)
    worker = server.role("worker")
    found: list[Event] = []
    following = threading.Thread(target=lambda: found.extend(_follow(server, job_id)))
    following.start()
    server.stopped_child()

    os.kill(worker, signal.SIGKILL)

    following.join(90)
    assert found[-1].kind == "done"
    assert found[-1].job["state"] == "succeeded"
    states = [state for state, _ in itertools.groupby(one.job["state"] for one in found)]
    assert states[-4:] == ["running", "queued", "running", "succeeded"]
    assert found[-1].job["attempts"] == 2
