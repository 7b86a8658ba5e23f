"""How much one client may take, what every answer carries, and whose word is not believed."""

import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

_FILE = [("model", ("a.pt", b"PK not really"))]
_HEAD = b"POST /fuse HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
_PART = b'--b\r\nContent-Disposition: form-data; name="model"; filename="a.pt"\r\n\r\n'
_PLAIN = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def narrow(api_with: Callable[..., Any]) -> Any:
    """Two uploads at a time, one for each client; three jobs; 200 kB of files; few connections."""
    return api_with(
        max_uploads=2,
        max_uploads_per_client=1,
        max_active_jobs=3,
        max_stored_bytes=200_000,
        max_connections_per_client=6,
    )


@pytest.fixture(scope="module")
def named(api_with: Callable[..., Any]) -> Any:
    """Behind a proxy at 127.0.0.2 that is known, under a name."""
    return api_with(
        trusted_proxies="127.0.0.2",
        allowed_hosts="fuse.example.org",
        public_url="https://fuse.example.org/box",
        max_uploads_per_client=1,
    )


@contextmanager
def _begun(api: Any, source: str, more: bytes = b"") -> Iterator[socket.socket]:
    """An upload in progress, from this address."""
    before = len(api.blobs())
    with socket.create_connection(("127.0.0.1", api.port), timeout=20, source_address=(source, 0)) as connection:
        connection.sendall(_HEAD + more + b"Content-Length: 900\r\n\r\n" + _PART + b"x")
        api.until(lambda: len(api.blobs()) == before + 1)
        yield connection
    api.until(lambda: len(api.blobs()) == before)


def _refused(answer: bytes, status: int, code: str) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer[:300]
    assert b"\r\nretry-after: 5" in head.lower()
    assert json.loads(body)["code"] == code


def _clear(api: Any, *jobs: httpx.Response) -> None:
    for job in jobs:
        assert api.http.delete(job.json()["links"]["self"]).status_code == 200


def test_one_client_uploads_so_many_files_at_a_time_and_disturbs_nobody(narrow: Any) -> None:
    another = _HEAD + b"Content-Length: 900\r\n\r\n"
    with _begun(narrow, "127.0.0.1"):
        _refused(narrow.say(another, source="127.0.0.1"), 429, "too-many-uploads")
        with _begun(narrow, "127.0.0.2"):
            _refused(narrow.say(another, source="127.0.0.3"), 503, "service-busy")

    done = narrow.http.post("/fuse", files=_FILE)
    assert done.status_code == 202
    _clear(narrow, done)


def test_a_full_queue_is_503_before_the_body_until_a_job_is_done(narrow: Any) -> None:
    jobs = [narrow.http.post("/fuse", files=_FILE) for _ in range(3)]

    _refused(narrow.say(_HEAD + b"Content-Length: 900\r\n\r\n"), 503, "queue-full")

    _clear(narrow, jobs.pop())
    jobs.append(narrow.http.post("/fuse", files=_FILE))
    assert [job.status_code for job in jobs] == [202] * 3
    _clear(narrow, *jobs)


def test_of_many_at_once_no_more_are_accepted_than_may_wait(api_with: Callable[..., Any]) -> None:
    api = api_with(max_active_jobs=3)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: httpx.post(f"{api.url}/fuse", files=_FILE, timeout=60), range(8)))

    assert sorted(answer.status_code for answer in answers) == [202] * 3 + [503] * 5
    assert len(api.blobs()) == 3


def test_files_take_no_more_room_than_they_may_and_results_have_theirs(narrow: Any) -> None:
    fits = narrow.http.post("/fuse", files=[("model", ("a.pt", bytes(60_000)))])  # and as much again for the result
    assert fits.status_code == 202

    full = narrow.http.post("/fuse", files=[("model", ("a.pt", bytes(60_000)))])

    assert (full.status_code, full.json()["code"]) == (507, "disk-full")
    assert len(narrow.blobs()) == 1
    _clear(narrow, fits)
    again = narrow.http.post("/fuse", files=[("model", ("a.pt", bytes(60_000)))])
    assert again.status_code == 202
    _clear(narrow, again)


def test_one_client_holds_so_many_connections_and_disturbs_nobody(narrow: Any) -> None:
    narrow.http.close()
    narrow.http = httpx.Client(base_url=narrow.url, timeout=60)
    held = [socket.create_connection(("127.0.0.1", narrow.port)) for _ in range(6)]
    try:
        narrow.until(lambda: narrow.say(_PLAIN).startswith(b"HTTP/1.1 503"))
        _refused(narrow.say(_PLAIN), 503, "too-many-connections")
        assert narrow.say(_PLAIN, source="127.0.0.2").startswith(b"HTTP/1.1 200 ")
    finally:
        for one in held:
            one.close()
    narrow.until(lambda: narrow.say(_PLAIN).startswith(b"HTTP/1.1 200 "))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/livez"),
        ("HEAD", "/readyz"),
        ("GET", "/openapi.json"),
        ("GET", "/v1/jobs/x"),
        ("GET", "/nothing"),
        ("POST", "/fuse"),
        ("OPTIONS", "/fuse"),
        ("TRACE", "/"),
        ("BREW", "/"),
    ],
)
def test_every_answer_is_inert_in_a_browser_and_tells_nothing_of_the_server(
    narrow: Any, method: str, path: str
) -> None:
    asked = {"Origin": narrow.url, "Access-Control-Request-Method": "POST"}

    headers = narrow.http.request(method, path, headers=asked).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'; frame-ancestors 'none'")
    assert headers["cache-control"] == "no-store"
    assert (headers["x-frame-options"], headers["referrer-policy"]) == ("DENY", "no-referrer")
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "server" not in headers
    assert not [name for name in headers if name.startswith("access-control-")]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]", "box.localhost:1", "192.168.0.7"])
def test_loopback_answers_by_its_own_names_and_by_any_address(narrow: Any, host: str) -> None:
    assert narrow.http.get("/livez", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "fusebox"])
def test_loopback_does_not_answer_by_a_name_that_a_page_may_have_bound_to_it(narrow: Any, host: str) -> None:
    for path in ("/", "/livez", "/v1/jobs/x"):
        answer = narrow.http.get(path, headers={"Host": host})
        assert (answer.status_code, answer.json()["code"]) == (421, "unknown-host")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_page_of_another_site_can_not_post_a_form(narrow: Any, headers: dict[str, str]) -> None:
    answer = narrow.http.post("/fuse", files=_FILE, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (403, "cross-site")
    assert narrow.blobs() == set()


def test_a_page_of_our_own_can(narrow: Any) -> None:
    answer = narrow.http.post("/fuse", files=_FILE, headers={"Origin": narrow.url, "Sec-Fetch-Site": "same-origin"})

    assert answer.status_code == 202
    _clear(narrow, answer)


def test_who_forwards_is_not_believed_unless_the_operator_knows_him(narrow: Any) -> None:
    forwarded = b"X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.example\r\n"
    forwarded += b"Forwarded: for=10.0.0.1;host=evil.example\r\n"
    with _begun(narrow, "127.0.0.1"):
        answer = narrow.say(_HEAD + forwarded + b"Content-Length: 900\r\n\r\n")
        _refused(answer, 429, "too-many-uploads")

    shown = narrow.say(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + forwarded + b"\r\n")

    assert b"http://localhost/fuse" in shown
    assert b"evil" not in shown


def test_a_known_proxy_speaks_for_its_clients(named: Any) -> None:
    head = _HEAD.replace(b"localhost", b"fuse.example.org")
    client = b"X-Forwarded-For: 10.0.0.1\r\n"
    before = len(named.blobs())
    with socket.create_connection(("127.0.0.1", named.port), source_address=("127.0.0.2", 0)) as connection:
        connection.sendall(head + client + b"Content-Length: 900\r\n\r\n" + _PART + b"x")
        named.until(lambda: len(named.blobs()) == before + 1)

        same = named.say(head + client + b"Content-Length: 900\r\n\r\n", source="127.0.0.2")
        other = named.say(
            head + b"X-Forwarded-For: 10.0.0.2\r\nContent-Length: 3\r\n\r\nxxx", source="127.0.0.2", pause=0.1
        )

    _refused(same, 429, "too-many-uploads")
    assert b"malformed-upload" in other


def test_links_are_made_from_the_public_url_and_only_known_names_are_answered(named: Any) -> None:
    named.http.headers["Host"] = "fuse.example.org"
    job = named.http.post("/fuse", files=_FILE)

    assert "https://fuse.example.org/box/v1/jobs/" in job.json()["next"]
    assert named.http.get("/", headers={"Host": "other.example.org"}).status_code == 421
    _clear(named, job)


def test_the_log_holds_no_query(narrow: Any) -> None:
    narrow.http.get("/livez?key=hunter2")

    assert "GET /livez HTTP" in narrow.log.read_text()
    assert "hunter2" not in narrow.log.read_text()


def test_nothing_of_this_was_a_bug_of_ours(narrow: Any, named: Any) -> None:
    for api in (narrow, named):
        assert "Traceback" not in api.log.read_text()
