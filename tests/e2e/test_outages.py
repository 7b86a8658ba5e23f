"""What stands behind the API does not answer: 503 with a code and a time to try again, and no traceback."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

_FILE = [("model", ("a.pt", b"PK not really"))]


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Relay:
    """A TCP port before another one, that can go away."""

    def __init__(self, target: int) -> None:
        self.port = _closed_port()
        self._target = target
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._relay, "127.0.0.1", self.port))
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._open |= {writer, back}
        await asyncio.gather(_copy(reader, back), _copy(there, writer))

    async def _cut(self) -> None:
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await asyncio.sleep(0.1)

    def cut(self) -> None:
        """Every connection is reset, and no other is taken."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(5)

    def close(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass
    writer.close()


@contextmanager
def _relayed(url: str) -> Iterator[tuple[_Relay, str]]:
    target = urlsplit(url).port
    assert target is not None
    relay = _Relay(target)
    try:
        yield relay, url.replace(f":{target}", f":{relay.port}")
    finally:
        relay.close()


def _outage(answer: httpx.Response, code: str) -> None:
    assert (answer.status_code, answer.headers.get("retry-after")) == (503, "5"), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    if answer.request.method != "HEAD":
        assert (answer.json()["code"], bool(answer.json()["remedy"])) == (code, True)
        assert "127.0.0.1" not in answer.text


def test_an_object_store_that_does_not_answer_is_503(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "s", "REGION": "us-east-1", "ALLOW_HTTP": "true"}
    for name, value in {**settings, "ENDPOINT_URL": f"http://127.0.0.1:{_closed_port()}"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    api = serve("api", blob_url="s3://bucket/prefix")

    _outage(api.http.post("/fuse", files=_FILE), "storage-unavailable")

    assert api.http.get("/readyz").json()["checks"]["blobs"] == "failed: StorageUnavailable"
    assert "Traceback" not in api.log.read_text()


def test_a_database_that_goes_away_is_503_until_it_is_back(serve: Callable[..., Any], postgres: str) -> None:
    with _relayed(postgres) as (relay, url):
        api = serve("api", database_url=f"{url}/postgres")
        job = api.http.post("/fuse", files=_FILE).json()["links"]
        relay.cut()

        for method, path in [("GET", job["self"]), ("HEAD", job["model"]), ("DELETE", job["self"])]:
            _outage(api.http.request(method, path), "database-unavailable")
        _outage(api.http.post("/fuse", files=_FILE), "database-unavailable")

        assert len(api.blobs()) == 1  # that of the job before
        assert api.http.get("/readyz").json()["checks"]["database"] == "failed: OperationalError"
        assert "Traceback" not in api.log.read_text()


def test_who_follows_a_job_stays_connected_through_an_outage_and_who_waits_is_told(
    serve: Callable[..., Any], postgres: str
) -> None:
    with _relayed(postgres) as (relay, url):
        api = serve("api", database_url=f"{url}/postgres")
        job = api.http.post("/fuse", files=_FILE).json()["links"]
        with api.http.stream("GET", job["events"]) as following, ThreadPoolExecutor(1) as pool:
            lines = following.iter_lines()
            while not next(lines).startswith("data: "):
                pass
            waiting = pool.submit(httpx.get, f"{api.url}{job['self']}?wait=60", timeout=70)
            time.sleep(0.3)

            relay.cut()

            _outage(waiting.result(), "database-unavailable")
            assert [next(lines), next(lines)] == ["", ": "]  # the end of the event, then a sign of life
            api.stop()
            assert set(lines) <= {"", ": "}  # and its end is whole: it was not cut off
        assert "Traceback" not in api.log.read_text()


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/openapi.json", "/v1/jobs/x", "/v1/jobs/x/report"])
def test_head_is_get_without_a_body(server: Any, path: str) -> None:
    asked, told = server.http.get(path), server.http.head(path)

    assert (told.status_code, told.content) == (asked.status_code, b"")
    assert told.headers["content-length"] == asked.headers["content-length"]
    assert told.headers["content-type"] == asked.headers["content-type"]
