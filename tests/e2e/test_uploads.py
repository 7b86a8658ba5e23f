"""Uploads in every way that is taken: plain bodies, digests, keys that make repeating harmless, a second file."""

import base64
import hashlib
import io
import socket
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

_ROOT = Path(__file__).resolve().parent.parent.parent
_SMALL = _ROOT / "tests/data/acnet/blocks.pt"
_BODY = b"PK not really"
_FILE = ("model", ("a.pt", _BODY))
_PROBE = ("probe", ("x.npy", b"\x93NUMPY not really"))


@pytest.fixture(scope="module")
def api(api_with: Callable[..., Any]) -> Any:
    return api_with()


def _code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", "")


def _curl(line: str, directory: Path) -> str:
    command = ["bash", "-c", f"curl -sS --max-time 130 {line}"]
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout


def test_a_file_is_uploaded_by_curl_as_it_is_and_saved_again(server: Any, tmp_path: Path) -> None:
    _curl(f"--fail-with-body -OJ -T {_SMALL} '{server.url}/fuse/?wait=120'", tmp_path)

    (saved,) = tmp_path.iterdir()
    assert saved.name.startswith("blocks")
    form = server.http.post("/fuse?wait=120", files={"model": ("blocks.pt", _SMALL.read_bytes())}, timeout=130)
    assert saved.read_bytes() == form.content


def test_a_pipe_is_uploaded_in_chunks_with_options_in_the_query(server: Any, tmp_path: Path) -> None:
    shown = _curl(f"-T - '{server.url}/fuse/piped.pt?strict=true&dtype=float32' < {_SMALL}", tmp_path)

    job = httpx.Response(200, text=shown).json()
    assert (job["input"]["filename"], job["input"]["bytes"]) == ("piped.pt", _SMALL.stat().st_size)
    assert (job["options"]["strict"], job["options"]["dtype"]) == (True, "float32")
    assert server.job(job["id"], wait=60)["state"] == "succeeded"


@pytest.mark.parametrize("path", ["/fuse", "/fuse/"])
def test_a_body_without_a_name_is_a_model(api: Any, path: str) -> None:
    assert api.http.put(path, content=_BODY).json()["input"]["filename"] == "model"


def test_a_name_is_one_plain_name(api: Any) -> None:
    assert api.http.put("/fuse/gr%C3%B6%C3%9Fe%0A.pt", content=_BODY).json()["input"]["filename"] == "größe.pt"
    assert api.http.put("/fuse/..%5Ca.pt", content=_BODY).json()["input"]["filename"] == "a.pt"
    assert api.http.put("/fuse/..%2Fa.pt", content=_BODY).status_code == 404


@pytest.mark.parametrize(
    ("query", "headers", "body", "answer"),
    [
        ("?nope=1", {}, _BODY, (422, "invalid-option")),
        ("?model=1", {}, _BODY, (422, "invalid-option")),
        ("?strict=1&strict=1", {}, _BODY, (422, "invalid-option")),
        ("?dtype=float8", {}, _BODY, (422, "invalid-option")),
        ("?max_error=nan", {}, _BODY, (422, "invalid-option")),
        ("?wait=x", {}, _BODY, (422, "invalid-option")),
        ("", {}, b"", (422, "malformed-upload")),
        ("", {"Content-Type": "multipart/form-data; boundary=b"}, _BODY, (422, "malformed-upload")),
        ("", {"Content-Encoding": "gzip"}, _BODY, (415, "unsupported-coding")),
        ("", {"Content-Range": "bytes 0-9/20"}, _BODY, (415, "unsupported-coding")),
        ("", {"Origin": "http://elsewhere.example"}, _BODY, (403, "cross-site")),
    ],
)
def test_a_plain_body_is_refused_by_the_same_rules(
    api: Any, query: str, headers: dict[str, str], body: bytes, answer: tuple[int, str]
) -> None:
    before = api.blobs()

    refused = api.http.put(f"/fuse/a.pt{query}", content=body, headers=headers)

    assert _code(refused) == answer
    assert refused.json()["remedy"]
    assert api.blobs() == before


def test_a_plain_body_is_held_to_the_limits(api_with: Callable[..., Any]) -> None:
    api = api_with(max_upload_bytes=300_000)
    long = [bytes(100_000)] * 30

    declared = api.http.put("/fuse/a.pt", content=b"".join(long))
    chunked = api.http.put("/fuse/a.pt", content=iter(long))

    assert (_code(declared), _code(chunked)) == ((413, "too-large"),) * 2
    assert api.blobs() == set()


def _digest(body: bytes, algorithm: str = "sha256") -> str:
    return f":{base64.b64encode(hashlib.new(algorithm, body).digest()).decode()}:"


def test_a_digest_is_that_of_the_whole_body(api: Any) -> None:
    request = httpx.Request("POST", api.url, files=[_FILE])
    form, kind = request.read(), {"Content-Type": request.headers["content-type"]}
    before = api.blobs()

    def send(value: str) -> httpx.Response:
        return httpx.post(f"{api.url}/fuse", content=form, headers={**kind, "Content-Digest": value})

    assert _code(send(f"sha-256={_digest(_BODY)}")) == (400, "digest-mismatching-values")
    assert _code(send(f"sha-512={_digest(form)}")) == (400, "digest-invalid-values")
    assert _code(send("md5=:AAAA:")) == (400, "digest-unsupported-algorithms")
    assert api.blobs() == before
    assert send(f"sha-512={_digest(form, 'sha512')}, sha-256={_digest(form)}").status_code == 202
    put = api.http.put("/fuse/a.pt", content=_BODY, headers={"Content-Digest": f"sha-256={_digest(_BODY)}"})
    assert put.status_code == 202


def test_an_archive_is_sent_to_those_who_would_rather_have_one(server: Any) -> None:
    asked = {"Accept": "application/zip", "Prefer": "wait=100"}
    with _SMALL.open("rb") as file:
        answer = server.http.put("/fuse/blocks.pt", content=file, headers=asked, timeout=130)

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    assert (answer.headers["vary"], answer.headers["preference-applied"]) == ("Accept", "wait=100")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["blocks.fused.pt", "report.json"]
    assert server.http.get(answer.headers["content-location"]).content == answer.content
    failed = server.http.put("/fuse/a.pt", content=_BODY, headers=asked, timeout=130)
    assert (_code(failed), failed.headers["content-type"]) == ((415, "unsupported-format"), "application/problem+json")


def _keyed(key: str, **more: str) -> dict[str, str]:
    return {"Idempotency-Key": key, **more}


def test_the_same_request_sent_again_finds_its_job(api: Any) -> None:
    first = api.http.post("/fuse", files=[_FILE, _PROBE], data={"strict": "true"}, headers=_keyed('"one"'))
    blobs = api.blobs()

    again = api.http.post("/fuse", files=[_PROBE, _FILE], data={"strict": "1", "dtype": ""}, headers=_keyed("one"))

    assert (again.status_code, again.headers["location"]) == (202, first.headers["location"])
    assert again.json() == first.json()
    assert api.blobs() == blobs
    assert api.http.post("/fuse", files=[_FILE]).json()["id"] != first.json()["id"]


@pytest.mark.parametrize(
    ("files", "data"),
    [
        ([("model", ("a.pt", b"another"))], {}),
        ([("model", ("b.pt", _BODY))], {}),
        ([_FILE], {"strict": "true"}),
        ([_FILE, _PROBE], {}),
    ],
)
def test_another_request_with_the_same_key_is_refused(api: Any, files: list[Any], data: dict[str, str]) -> None:
    job = api.http.post("/fuse", files=[_FILE], headers=_keyed("two")).json()
    blobs = api.blobs()

    answer = api.http.post("/fuse", files=files, data=data, headers=_keyed("two"))

    assert _code(answer) == (422, "idempotency-key-reused")
    assert answer.json()["job"] == job["links"]["self"]
    assert api.blobs() == blobs


def test_a_key_is_known_until_the_files_of_its_job_are_gone(server: Any) -> None:
    def send() -> dict[str, Any]:
        return dict(server.http.put("/fuse/a.pt", content=_BODY, headers=_keyed("gone")).json())

    first = send()
    assert server.job(first["id"], wait=60)["state"] == "failed"
    assert send()["id"] == first["id"]

    server.http.delete(first["links"]["self"])

    second = send()
    assert second["id"] != first["id"]
    server.http.delete(second["links"]["self"])


def test_a_job_that_was_canceled_is_not_begun_again_by_a_late_repetition(api: Any) -> None:
    first = api.http.put("/fuse/a.pt", content=_BODY, headers=_keyed("late")).json()
    api.http.delete(first["links"]["self"])

    assert api.http.put("/fuse/a.pt", content=_BODY, headers=_keyed("late")).json()["state"] == "canceled"


def test_a_repetition_is_no_new_job_where_no_more_are_taken(api_with: Callable[..., Any]) -> None:
    api = api_with(max_active_jobs=1)
    first = api.http.put("/fuse/a.pt", content=_BODY, headers=_keyed("full"))
    assert _code(api.http.put("/fuse/a.pt", content=_BODY)) == (503, "queue-full")

    again = api.http.put("/fuse/a.pt", content=_BODY, headers=_keyed("full"))

    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])


def test_the_key_of_another_caller_is_another_key(api_with: Callable[..., Any]) -> None:
    keys = {name: f"{name}-" + "x" * 32 for name in ("alice", "bob")}
    api = api_with(auth="required", api_keys=",".join(f"{name}={key}" for name, key in keys.items()))

    def send(name: str, body: bytes) -> httpx.Response:
        headers = _keyed("same", Authorization=f"Bearer {keys[name]}")
        return httpx.put(f"{api.url}/fuse/a.pt", content=body, headers=headers)

    alice, bob = send("alice", b"her secret"), send("bob", b"his own")

    assert (alice.status_code, bob.status_code) == (202, 202)
    assert alice.json()["id"] != bob.json()["id"]
    assert _code(send("bob", b"her secret")) == (422, "idempotency-key-reused")


def _slowly(api: Any, key: str, body: bytes, began: threading.Event, go: threading.Event) -> httpx.Response:
    """An upload that stands still halfway until it is told to go on."""

    def pieces() -> Iterator[bytes]:
        yield body[:5]
        began.set()
        assert go.wait(20)
        yield body[5:]

    return httpx.put(f"{api.url}/fuse/a.pt", content=pieces(), headers=_keyed(key), timeout=30)


def test_a_twin_of_a_request_that_is_still_arriving_is_told_to_come_again(api: Any) -> None:
    began, go = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(_slowly, api, "twin", _BODY, began, go)
        assert began.wait(20)
        # The service has seen the head when it answers another request of the same kind.
        while (early := api.http.put("/fuse/a.pt", content=b"x", headers=_keyed("twin"))).status_code != 409:
            assert early.status_code == 422
        go.set()

    assert (_code(early), early.headers["retry-after"]) == ((409, "idempotency-key-in-use"), "1")
    late = api.http.put("/fuse/a.pt", content=_BODY, headers=_keyed("twin"))
    assert late.json()["id"] == first.result().json()["id"]


def test_twins_that_reach_two_processes_at_the_same_time_are_one_job(serve: Callable[..., Any], tmp_path: Path) -> None:
    shared = {"database_url": f"sqlite:///{tmp_path / 'jobs.sqlite'}", "blob_url": f"file://{tmp_path / 'blobs'}"}
    processes = [serve("api", **shared), serve("api", **shared)]
    go = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        began = [threading.Event(), threading.Event()]
        sent = [pool.submit(_slowly, api, "both", _BODY, on, go) for api, on in zip(processes, began, strict=True)]
        assert all(one.wait(20) for one in began)
        go.set()
        answers = [one.result() for one in sent]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(list((tmp_path / "blobs").rglob("input"))) == 1
    assert len(processes[0].http.get("/v1/jobs").json()["jobs"]) == 1


def test_a_process_that_is_killed_in_the_middle_leaves_the_key_free(serve: Callable[..., Any]) -> None:
    api = serve("api")
    head = f"PUT /fuse/a.pt HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: k\r\nContent-Length: {len(_BODY)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", api.port), timeout=20) as connection:
        connection.sendall(head.encode() + _BODY[:5])
        api.until(lambda: len(api.blobs()) == 1)

        api.kill()
    api.start()

    again = api.http.put("/fuse/a.pt", content=_BODY, headers=_keyed("k"))
    assert again.status_code == 202
    assert api.http.get(again.json()["links"]["self"]).json()["state"] == "queued"


def test_inputs_for_the_comparison_come_as_a_second_file(api: Any) -> None:
    job = api.http.post("/fuse", files=[_PROBE, _FILE]).json()

    assert job["probe"] == {
        "filename": "x.npy",
        "bytes": len(_PROBE[1][1]),
        "sha256": hashlib.sha256(_PROBE[1][1]).hexdigest(),
    }
    assert {f"{job['id']}/input", f"{job['id']}/probe"} <= api.blobs()
    api.http.delete(job["links"]["self"])
    assert not [name for name in api.blobs() if name.startswith(job["id"])]


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([_FILE, ("probe", (None, "text"))], "not a file"),
        ([_FILE, _PROBE, _PROBE], "two files"),
        ([_FILE, ("probe", ("x.npy", b""))], "empty"),
        ([_PROBE], "no file"),
    ],
)
def test_a_second_file_that_is_none_is_refused_and_leaves_nothing(api: Any, parts: list[Any], says: str) -> None:
    before = api.blobs()

    answer = api.http.post("/fuse", files=parts)

    assert _code(answer) == (422, "malformed-upload")
    assert says in answer.json()["detail"]
    assert api.blobs() == before


def test_a_form_of_a_browser_where_no_second_file_was_chosen_has_none(api: Any) -> None:
    part = 'Content-Disposition: form-data; name="{}"; filename="{}"\r\n\r\n{}\r\n'
    body = "--b\r\n" + part.format("model", "a.pt", "PK") + "--b\r\n" + part.format("probe", "", "") + "--b--\r\n"

    answer = api.http.post("/fuse", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})

    assert (answer.status_code, answer.json()["probe"]) == (202, None)


def test_both_files_together_are_held_to_the_limit_and_count_for_the_quota(api_with: Callable[..., Any]) -> None:
    limited = api_with(max_upload_bytes=100_000)
    model, probe = ("model", ("a.pt", bytes(60_000))), ("probe", ("x.npy", bytes(60_000)))
    assert limited.http.post("/fuse", files=[model]).status_code == 202
    blobs = limited.blobs()
    assert _code(limited.http.post("/fuse", files=[model, probe])) == (413, "too-large")
    assert limited.blobs() == blobs
    # Room for one and its result, not for both.
    full = api_with(max_stored_bytes=130_000)
    assert _code(full.http.post("/fuse", files=[model, probe])) == (507, "disk-full")
    assert full.http.post("/fuse", files=[model]).status_code == 202
