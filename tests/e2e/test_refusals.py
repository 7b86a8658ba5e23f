"""What the service refuses, and how: a problem document with a stable code and a remedy, and nothing left behind."""

import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.options import FuseOptions

_FILE = ("model", ("a.pt", b"PK not really"))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, server: Any) -> Iterator[Any]:
    """An API without a worker: nothing that it accepts is run."""
    alone = type(server)(tmp_path_factory.mktemp("alone") / "data", "api", {"FUSEBOX_MAX_UPLOAD_BYTES": "1M"})
    alone.start()
    yield alone
    alone.close()


def _problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(problem) >= {"type", "title", "detail", "remedy", "instance"}
    assert "Traceback" not in answer.text
    return dict(problem)


@pytest.mark.parametrize(
    ("parts", "code", "said"),
    [
        ([("modell", ("a.pt", b"x"))], "invalid-option", "modell"),
        ([("max_eror", (None, "1")), _FILE], "invalid-option", "max_eror"),
        ([_FILE, ("max_eror", (None, "1"))], "invalid-option", "max_eror"),
        ([("max_error", (None, "a lot")), _FILE], "invalid-option", "a lot"),
        ([_FILE, ("max_error", (None, "-1"))], "invalid-option", "-1"),
        ([("max_error", (None, "nan")), _FILE], "invalid-option", "nan"),
        ([("dtype", (None, "float64")), _FILE], "invalid-option", "float64"),
        ([("strict", (None, "1")), ("strict", (None, "1")), _FILE], "invalid-option", "twice"),
        ([("strict", (None, "1" * 5000)), _FILE], "invalid-option", "strict"),
        ([("strict", (None, "true"))], "malformed-upload", "no file"),
        ([_FILE, _FILE], "malformed-upload", "two files"),
        ([("model", ("a.pt", b""))], "malformed-upload", "empty"),
        ([("model", (None, "yolov7.pt"))], "malformed-upload", "not a file"),
    ],
)
def test_a_form_that_is_wrong_is_told_what_is_wrong(api: Any, parts: Any, code: str, said: str) -> None:
    before = api.blobs()

    problem = _problem(api.http.post("/fuse", files=parts), 422, code)

    assert said in problem["detail"]
    assert problem["remedy"] or said == "strict"
    assert api.blobs() == before


def test_an_unknown_option_is_answered_with_the_known_ones(api: Any) -> None:
    problem = _problem(api.http.post("/fuse", files=[("eps", (None, "1"))]), 422, "invalid-option")

    assert problem["allowed"] == ["model", "probe", *FuseOptions.model_fields]
    assert "max_error, dtype, strict" in problem["remedy"]


@pytest.mark.parametrize("kind", ["application/json", "application/octet-stream", "text/plain", ""])
def test_a_body_that_is_no_form_is_shown_the_right_command(api: Any, kind: str) -> None:
    answer = api.http.post("/fuse", content=b"{}", headers={"Content-Type": kind})

    assert "curl -F model=@" in _problem(answer, 415, "not-multipart")["remedy"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no boundary at all",
        b"--b\r\n",
        b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
        b"--b\r\nContent-Disposition: attachment; name=model\r\n\r\nx\r\n--b--\r\n",
        b"--b\r\nBad Header\r\n\r\nx\r\n--b--\r\n",
        b"--b\r\nContent-Disposition: form-data; name=model; filename=a\r\n"
        b"Content-Disposition: form-data; name=dtype\r\n\r\nx\r\n--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="model"; filename="a.pt"\r\n\r\nstops here',
        b'--b\r\nContent-Disposition: form-data; name="model"; filename="a.pt"\r\n\r\nx\r\n--b\r\n',
        b"--b\r\n" + b"A: b\r\n" * 5000,
    ],
)
def test_a_broken_form_is_a_malformed_upload_and_leaves_nothing(api: Any, body: bytes) -> None:
    before = api.blobs()

    answer = api.http.post("/fuse", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})

    _problem(answer, 422, "malformed-upload")
    assert api.blobs() == before


def test_a_form_without_a_boundary_is_a_malformed_upload(api: Any) -> None:
    for kind in ("multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'b' * 999}"):
        _problem(api.http.post("/fuse", content=b"--b", headers={"Content-Type": kind}), 422, "malformed-upload")


@pytest.mark.parametrize("query", ["wait=soon", "wait=-1", "wait=nan", "wait=inf", "strict=true", "wait=1&dtype=keep"])
def test_a_query_that_would_be_ignored_is_refused(api: Any, query: str) -> None:
    _problem(api.http.post(f"/fuse?{query}", files=[_FILE]), 422, "invalid-option")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/jobs/no-such-job", 404, "job-not-found"),
        ("GET", "/v1/jobs/no-such-job/model", 404, "job-not-found"),
        ("GET", "/v1/jobs/%00%ff/report", 404, "job-not-found"),
        ("DELETE", "/v1/jobs/no-such-job", 404, "job-not-found"),
        ("GET", "/v1/jobs/..%2f..%2fetc", 404, "not-found"),
        ("GET", "/nothing", 404, "not-found"),
        ("GET", "/fuse", 405, "method-not-allowed"),
        ("PUT", "/v1/jobs/x", 405, "method-not-allowed"),
    ],
)
def test_every_wrong_address_is_a_problem_too(api: Any, method: str, path: str, status: int, code: str) -> None:
    answer = api.http.request(method, path)

    _problem(answer, status, code)
    assert status != 405 or answer.headers["allow"]


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/jobs/x", "GET, HEAD, DELETE"),
        ("/v1/jobs/x/model", "GET, HEAD"),
        ("/fuse", "POST, PUT"),
        ("/fuse/a.pt", "PUT"),
        ("/v1/jobs", "GET, HEAD"),
        ("/livez", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_answered_with_all_that_the_path_knows(api: Any, path: str, methods: str) -> None:
    assert api.http.request("OPTIONS", path).headers["allow"] == methods


def test_a_declared_length_above_the_limit_is_refused_before_the_body(api: Any) -> None:
    with socket.create_connection(("127.0.0.1", api.port)) as connection:
        connection.sendall(
            b"POST /fuse HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            b"Content-Length: 9000000000\r\n\r\n"
        )
        connection.settimeout(5)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"too-large"' in answer


@pytest.mark.parametrize("arguments", ["", "-H Expect:", "-H 'Transfer-Encoding: chunked'"])
def test_curl_shows_why_a_large_file_is_refused(api: Any, tmp_path: Path, arguments: str) -> None:
    large = tmp_path / "large.pt"
    large.write_bytes(bytes(30 << 20))

    line = f"curl -sS --max-time 20 {arguments} -F model=@{large} {api.url}/fuse"
    shown = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False).stdout

    assert '"code":"too-large"' in shown
    assert '"limit_bytes":1048576' in shown
    assert api.blobs() == set()


def test_a_stream_without_a_length_is_stopped_at_the_limit(api: Any) -> None:
    def body() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="model"; filename="a.pt"\r\n\r\n'
        for _ in range(40):
            yield bytes(1 << 16)

    answer = api.http.post("/fuse", content=body(), headers={"Content-Type": "multipart/form-data; boundary=b"})

    _problem(answer, 413, "too-large")
    assert api.blobs() == set()


def test_an_uploader_who_leaves_halfway_leaves_nothing_behind(api: Any) -> None:
    connection = socket.create_connection(("127.0.0.1", api.port))
    connection.sendall(
        b"POST /fuse HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b"Content-Length: 900000\r\n"
        b'\r\n--b\r\nContent-Disposition: form-data; name="model"; filename="a.pt"\r\n\r\n' + bytes(300_000)
    )
    api.until(lambda: len(api.blobs()) == 1)

    connection.close()

    api.until(lambda: api.blobs() == set(), seconds=5)
    assert not list((api.data_dir / "blobs").iterdir())
    time.sleep(0.3)
    assert "Traceback" not in api.log.read_text()


def test_what_comes_after_the_form_counts_as_well(api: Any) -> None:
    def body() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="model"; filename="a.pt"\r\n\r\nx\r\n--b--\r\n'
        for _ in range(40):
            yield bytes(1 << 16)

    answer = api.http.post("/fuse", content=body(), headers={"Content-Type": "multipart/form-data; boundary=b"})

    _problem(answer, 413, "too-large")
    assert api.blobs() == set()


def test_a_disk_without_room_is_507_before_the_body(serve: Callable[..., Any]) -> None:
    api = serve("api", min_free_bytes=1 << 60)

    _problem(api.http.post("/fuse", files=[_FILE]), 507, "disk-full")

    assert api.blobs() == set()


def test_a_write_that_the_system_refuses_is_507(serve: Callable[..., Any]) -> None:
    api = serve("api")
    # As `ulimit -f` does it; the database below that size goes on working.
    resource.prlimit(api.pid, resource.RLIMIT_FSIZE, (3 << 20, 3 << 20))

    _problem(api.http.post("/fuse", files=[("model", ("a.pt", bytes(5 << 20)))]), 507, "disk-full")

    assert api.blobs() == set()
    assert api.http.post("/fuse", files=[_FILE]).status_code == 202


def test_a_service_without_a_worker_is_alive_but_not_ready(api: Any) -> None:
    assert api.http.get("/livez").status_code == 200
    health = api.http.get("/readyz")
    assert health.status_code == 503
    assert health.json()["checks"] == {"database": "ok", "blobs": "ok", "worker": "failed: NoLiveWorker"}


def test_a_hostile_host_header_is_refused_and_not_repeated(api: Any) -> None:
    answer = api.http.post("/fuse", files=[_FILE], headers={"Host": "x'; rm -rf ~; '"})

    _problem(answer, 400, "bad-request")
    assert "rm -rf" not in answer.text


def test_a_hostile_file_name_stays_one_plain_name(api: Any) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="model"; filename="../../etc/\x01p\xc3\xa4ss;w\'d.pt"\r\n\r\nx'
        b"\r\n--b--\r\n"
    )

    job = api.http.post("/fuse", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"}).json()

    assert job["input"]["filename"] == "päss;w'd.pt"
    api.http.delete(job["links"]["self"])


def test_a_queued_job_waits_for_a_result_only_as_long_as_asked(api: Any) -> None:
    job = api.http.post("/fuse", files=[_FILE]).json()
    began = time.monotonic()

    answer = api.http.get(f"{job['links']['model']}?wait=0.5")

    assert 0.4 < time.monotonic() - began < 3
    assert _problem(answer, 409, "job-not-finished")["remedy"]
    assert answer.headers["retry-after"]
    api.http.delete(job["links"]["self"])


@pytest.mark.parametrize(
    "preference", [["respond-async", "wait=1"], ["wait=1;x=y, respond-async"], ["wait=1", "wait=9"]]
)
def test_a_preference_to_wait_is_found_among_others(api: Any, preference: list[str]) -> None:
    job = api.http.post("/fuse", files=[_FILE]).json()

    answer = api.http.get(job["links"]["self"], headers=[("Prefer", one) for one in preference])

    assert answer.headers["preference-applied"] == "wait=1"
    api.http.delete(job["links"]["self"])


def test_an_enormous_preference_to_wait_is_applied_as_far_as_it_goes(serve: Callable[..., Any]) -> None:
    api = serve("api", max_wait_seconds=0.1)

    answer = api.http.post("/fuse", files=[_FILE], headers={"Prefer": f"wait={'9' * 20}"})

    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "wait=0.1")


def test_of_many_who_cancel_a_job_at_once_all_hear_the_same(api: Any) -> None:
    for _ in range(5):
        path = api.http.post("/fuse", files=[_FILE]).json()["links"]["self"]

        with ThreadPoolExecutor(8) as pool:
            states = {answer.json()["state"] for answer in pool.map(api.http.delete, [path] * 8)}

        assert states == {"canceled"}


def test_the_document_describes_the_form_the_problems_and_every_path(api: Any) -> None:
    document = api.http.get("/openapi.json").json()

    form = document["paths"]["/fuse"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["properties"]) == {"model", "probe", *FuseOptions.model_fields}
    assert form["properties"]["max_error"]["type"] == "number"  # and not null, which a form does not have
    assert "ProblemDocument" in document["components"]["schemas"]
    assert "Report" in document["components"]["schemas"]
    assert {"/fuse", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/model", "/v1/jobs/{job_id}/report"} <= set(
        document["paths"]
    )
    assert "507" in document["paths"]["/fuse"]["post"]["responses"]
    for part in ("model", "report"):
        # Whatever a job failed of is the answer there.
        asked = document["paths"][f"/v1/jobs/{{job_id}}/{part}"]["get"]
        assert {"413", "415", "422", "500", "507"} <= set(asked["responses"])
        wait = next(one for one in asked["parameters"] if one["name"] == "wait")
        assert (wait["schema"]["type"], wait["schema"]["minimum"]) == ("number", 0)
        assert "anyOf" not in wait["schema"]


def test_those_who_wait_are_answered_when_the_service_stops(serve: Callable[..., Any]) -> None:
    api = serve("api")
    job = api.http.post("/fuse", files=[_FILE]).json()
    path = job["links"]["self"]
    with socket.create_connection(("127.0.0.1", api.port)) as connection:
        connection.sendall(f"GET {path}?wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        time.sleep(0.5)
        assert api.stop() in (0, -signal.SIGTERM)  # uvicorn ends by the signal that it was sent
        connection.settimeout(5)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_an_upload_that_the_stopping_service_cuts_off_leaves_nothing_behind(serve: Callable[..., Any]) -> None:
    api = serve("api")
    with socket.create_connection(("127.0.0.1", api.port)) as connection:
        connection.sendall(
            b"POST /fuse HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            b"Content-Length: 900000\r\n\r\n--b\r\nContent-Disposition: form-data; name=model; filename=a\r\n\r\nx"
        )
        api.until(lambda: api.blobs())

        api.stop()
        connection.settimeout(5)
        answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 503"), answer
    assert b'"code":"service-stopping"' in answer
    assert b"retry-after: 5" in answer.lower()
    assert "Traceback" not in api.log.read_text()
    assert api.blobs() == set()
