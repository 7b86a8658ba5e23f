"""API keys against a real service: who may enter, who sees what, and where a key never appears."""

import hashlib
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from app.jobs.database import open_database
from app.jobs.keys import add_key, revoke_key
from app.jobs.table import read_job

_ROOT = Path(__file__).resolve().parent.parent.parent
_FILE = [("model", ("a.pt", b"PK not really"))]
_GIVEN = secrets.token_urlsafe(32)
_HASHED = secrets.token_urlsafe(32)
_HEAD = b"POST /fuse HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"


def _keys(api: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("FUSEBOX_")}
    command = [sys.executable, "-m", "app", "keys", *arguments, "--data-dir", str(api.data_dir)]
    return subprocess.run(command, cwd=_ROOT, env=plain | api._settings, capture_output=True, text=True, check=False)


@contextmanager
def _database(api: Any) -> Iterator[sa.Engine]:
    """The service's own database, as another process has it."""
    engine = open_database(f"sqlite:///{api.data_dir / 'fusebox.sqlite'}")
    yield engine
    engine.dispose()


def _made(api: Any, name: str) -> str:
    with _database(api) as engine:
        return add_key(engine, name)


def _state(api: Any, job_id: str) -> str:
    with _database(api) as engine:
        job = read_job(engine, job_id)
        assert job is not None
        return job.state


def _with(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def api(api_with: Callable[..., Any]) -> Any:
    hashed = hashlib.sha256(_HASHED.encode()).hexdigest()
    return api_with(
        auth="required",
        api_keys=f"ops={_GIVEN}, ci=sha256:{hashed}",
        max_active_jobs_per_key=2,
        max_stored_bytes_per_key=100_000,
        max_uploads_per_client=1,
    )


@pytest.fixture(scope="module")
def alice(api: Any) -> str:
    return _made(api, "alice")


@pytest.fixture(scope="module")
def bob(api: Any) -> str:
    return _made(api, "bob")


def _refused(answer: httpx.Response, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (401, code)
    assert answer.headers["www-authenticate"].startswith('Bearer realm="fusebox"')
    assert answer.json()["remedy"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/fuse"),
        ("GET", "/v1/jobs/x"),
        ("HEAD", "/v1/jobs/x"),
        ("DELETE", "/v1/jobs/x"),
        ("GET", "/v1/jobs/x/model"),
        ("GET", "/v1/jobs/x/report"),
        ("GET", "/v1/jobs"),
        ("GET", "/v1/jobs/x/bundle"),
        ("GET", "/v1/jobs/x/events"),
        ("GET", "/v1/jobs/x/done"),
    ],
)
def test_without_a_key_nothing_is_told_of_any_job(api: Any, method: str, path: str) -> None:
    answer = api.http.request(method, path)

    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="fusebox"')
    if method != "HEAD":
        _refused(answer, "missing-key")


@pytest.mark.parametrize("path", ["/", "/livez", "/openapi.json"])
def test_what_probes_and_newcomers_need_is_open(api: Any, path: str) -> None:
    assert api.http.get(path).status_code == 200


def test_readiness_is_open_and_names_no_more_than_kinds(api: Any) -> None:
    assert api.http.get("/readyz").json()["checks"] == {
        "database": "ok",
        "blobs": "ok",
        "worker": "failed: NoLiveWorker",
    }


@pytest.mark.parametrize(
    "given",
    [
        "Bearer",
        "Bearer fbx_wrong",
        f"Basic {_GIVEN}",
        _GIVEN,
        f"Bearer {_GIVEN} {_GIVEN}",
        f"Bearer {_GIVEN[:-1]}",
        f"Bearer {hashlib.sha256(_HASHED.encode()).hexdigest()}",
        f"Bearer sha256:{hashlib.sha256(_HASHED.encode()).hexdigest()}",
        "Bearer " + "x" * 20_000,
        "Bearer ' OR 1=1 --",
    ],
    ids=range(10),  # Keys differ from one process to the next, and names of tests must not.
)
def test_what_is_no_key_is_refused(api: Any, given: str) -> None:
    answer = api.http.get("/v1/jobs/x", headers={"Authorization": given})

    _refused(answer, "invalid-key")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert given[8:] == "" or given[8:] not in answer.text


def test_two_keys_at_once_and_keys_elsewhere_are_refused(api: Any) -> None:
    two = [("Authorization", f"Bearer {_GIVEN}"), ("Authorization", f"Bearer {_HASHED}")]

    _refused(api.http.get("/v1/jobs/x", headers=two), "invalid-key")
    _refused(api.http.get(f"/v1/jobs/x?key={_GIVEN}&access_token={_GIVEN}"), "missing-key")
    _refused(api.http.get("/v1/jobs/x", headers={"Cookie": f"key={_GIVEN}"}), "missing-key")


def test_an_upload_without_a_key_is_refused_before_its_body(api: Any) -> None:
    answer = api.say(_HEAD + b"Content-Length: 900000\r\n\r\n" + b"x" * 1000)

    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in answer.lower()
    assert api.blobs() == set()


@pytest.mark.parametrize("key", [_GIVEN, _HASHED], ids=["plain", "hashed"])
def test_a_key_that_the_operator_gave_is_taken_plain_or_hashed(api: Any, key: str) -> None:
    job = api.http.post("/fuse", files=_FILE, headers=_with(key))

    assert job.status_code == 202
    lower = {"Authorization": f"bearer {key}"}
    assert api.http.delete(job.json()["links"]["self"], headers=lower).status_code == 200


def test_a_key_sees_its_own_jobs_and_no_other(api: Any, alice: str, bob: str) -> None:
    job = api.http.post("/fuse", files=_FILE, headers=_with(alice)).json()["links"]["self"]
    unknown = api.http.get("/v1/jobs/none", headers=_with(bob)).json()

    for method in ("GET", "HEAD", "DELETE"):
        parts = ("", "?wait=5", "/model", "/model?wait=5", "/report", "/report.md", "/bundle")
        parts += ("/report.html", "/comparison.py", "/events", "/events?after=0", "/done")
        for path in [job + part for part in parts]:
            if method == "DELETE" and path != job:
                continue
            for key in (bob, _GIVEN):
                assert api.http.request(method, path, headers=_with(key)).status_code == 404
    said = api.http.get(job, headers=_with(bob)).json()
    assert {**said, "detail": "", "instance": ""} == {**unknown, "detail": "", "instance": ""}
    mine = api.http.get(job, headers=_with(alice))
    assert mine.json()["state"] == "queued"
    assert 'Bearer $FUSEBOX_KEY"' in mine.json()["next"]
    assert alice not in mine.text
    assert api.http.delete(job, headers=_with(alice)).json()["state"] == "canceled"


def test_a_list_holds_the_jobs_of_its_key_alone(api: Any, alice: str, bob: str) -> None:
    job = api.http.post("/fuse", files=_FILE, headers=_with(alice)).json()

    mine, theirs = (api.http.get("/v1/jobs", headers=_with(key)).json()["jobs"] for key in (alice, bob))

    assert mine[0] == job
    assert job["id"] not in {one["id"] for one in theirs}
    # A cursor is a place, not a key: with another's, one sees one's own.
    page = api.http.get("/v1/jobs?limit=1", headers=_with(alice)).json()
    other = api.http.get("/v1/jobs", params={"cursor": page["next"] or ""}, headers=_with(bob)).json()
    assert {one["id"] for one in other["jobs"]} <= {one["id"] for one in theirs}
    api.http.delete(job["links"]["self"], headers=_with(alice))


def test_limits_of_one_key_are_not_those_of_another(api: Any, alice: str, bob: str) -> None:
    jobs = [api.http.post("/fuse", files=_FILE, headers=_with(alice)) for _ in range(3)]
    large = [("model", ("a.pt", bytes(60_000)))]

    assert [job.status_code for job in jobs] == [202, 202, 429]
    assert (jobs[2].json()["code"], jobs[2].headers["retry-after"]) == ("too-many-jobs", "5")
    theirs = api.http.post("/fuse", files=_FILE, headers=_with(bob))
    assert theirs.status_code == 202
    full = api.http.post("/fuse", files=large, headers=_with(bob))
    assert (full.status_code, full.json()["code"]) == (507, "quota-exceeded")
    for job, key in [*((job, alice) for job in jobs[:2]), (theirs, bob)]:
        api.http.delete(job.json()["links"]["self"], headers=_with(key))


def test_a_revoked_key_is_refused_at_once_and_its_jobs_stay_its_own(api: Any, bob: str) -> None:
    carol = _made(api, "carol")
    job = api.http.post("/fuse", files=_FILE, headers=_with(carol)).json()["links"]["self"]

    with _database(api) as engine:
        revoke_key(engine, "carol")

    _refused(api.http.get(job, headers=_with(carol)), "invalid-key")
    again = _made(api, "carol")
    for key in (bob, again):
        assert api.http.get(job, headers=_with(key)).status_code == 404
    assert _state(api, job.removeprefix("/v1/jobs/")) == "queued"


def test_the_jobs_of_a_revoked_key_can_be_canceled_with_it(api: Any) -> None:
    dave = _made(api, "dave")
    job = api.http.post("/fuse", files=_FILE, headers=_with(dave)).json()["id"]

    with _database(api) as engine:
        assert revoke_key(engine, "dave", cancel_jobs=True) == 1

    assert _state(api, job) == "canceled"


def test_the_command_adds_lists_and_revokes(api: Any) -> None:
    made = _keys(api, "add", "erin")
    erin = made.stdout.strip()
    assert api.http.get("/v1/jobs/x", headers=_with(erin)).status_code == 404  # and not 401

    listed = _keys(api, "list").stdout
    assert re.search(r"erin +\d{4}-\d\d-\d\d \d\d:\d\dZ +valid", listed)
    assert "given:ops" in listed
    assert not [key for key in (erin, _GIVEN, _HASHED) if key in listed + made.stderr]

    assert _keys(api, "revoke", "erin").stdout == "erin is revoked\n"
    _refused(api.http.get("/v1/jobs/x", headers=_with(erin)), "invalid-key")
    again = _keys(api, "revoke", "erin")
    assert (again.returncode, again.stderr) == (1, "fusebox: there is no valid key erin\n")


def test_no_key_is_kept_or_logged(api: Any, alice: str, bob: str) -> None:
    api.http.get("/v1/jobs/x", headers=_with(alice))

    kept = b"".join(path.read_bytes() for path in api.data_dir.rglob("*") if path.is_file())
    for key in (alice, bob, _GIVEN, _HASHED):
        assert key not in api.log.read_text()
        assert key.encode() not in kept
    assert hashlib.sha256(alice.encode()).hexdigest().encode() in kept
    assert "Traceback" not in api.log.read_text()


def test_off_loopback_a_first_key_is_made_and_shown_once(serve: Callable[..., Any]) -> None:
    api = serve("api", host="0.0.0.0")
    _refused(api.http.post("/fuse", files=_FILE), "missing-key")
    shown = re.findall(r"Bearer (fbx_[\w-]{43})'", api.log.read_text())
    assert len(shown) == 1
    job = api.http.post("/fuse", files=_FILE, headers={**_with(shown[0]), "Host": "any.example.org"})
    assert job.status_code == 202

    api.stop()
    api.start()

    assert len(re.findall("fbx_", api.log.read_text())) == 1
    assert api.http.get(job.json()["links"]["self"], headers=_with(shown[0])).status_code == 200


def test_jobs_from_before_there_were_keys_are_found_by_whoever_knows_their_ids(serve: Callable[..., Any]) -> None:
    api = serve("api")
    job = api.http.post("/fuse", files=_FILE).json()["links"]["self"]
    api.stop()
    with _database(api) as engine, engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE fusebox_keys"))
        connection.execute(sa.text("DROP INDEX fusebox_jobs_of_owner"))
        for column in ("owner", "input_bytes", "output_bytes"):
            connection.execute(sa.text(f"ALTER TABLE fusebox_jobs DROP COLUMN {column}"))

    api._settings["FUSEBOX_AUTH"] = "required"
    api.start()

    key = _made(api, "late")
    _refused(api.http.get(job), "missing-key")
    assert api.http.get(job, headers=_with(key)).json()["state"] == "queued"
    assert api.http.post("/fuse", files=_FILE, headers=_with(key)).status_code == 202


def test_api_processes_over_one_database_share_keys_jobs_and_limits(serve: Callable[..., Any], tmp_path: Path) -> None:
    shared = {"database_url": f"sqlite:///{tmp_path / 'shared.sqlite'}", "auth": "required", "max_active_jobs": 1}
    one, other = serve("api", **shared), serve("api", **shared)
    shown = re.findall(r"Bearer (fbx_[\w-]{43})'", one.log.read_text() + other.log.read_text())
    assert len(shown) == 1
    job = one.http.post("/fuse", files=_FILE, headers=_with(shown[0])).json()["links"]["self"]

    assert other.http.get(job, headers=_with(shown[0])).json()["state"] == "queued"
    full = other.http.post("/fuse", files=_FILE, headers=_with(shown[0]))

    assert (full.status_code, full.json()["code"], full.headers["retry-after"]) == (503, "queue-full", "5")
    assert other.http.delete(job, headers=_with(shown[0])).json()["state"] == "canceled"
    assert one.http.post("/fuse", files=_FILE, headers=_with(shown[0])).status_code == 202
