"""The list of jobs over real HTTP: pages that follow each other, whatever a cursor says."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

_FILE = [("model", ("a.pt", b"PK not really"))]


@pytest.fixture(scope="module")
def api(api_with: Callable[..., Any]) -> Any:
    return api_with()


@pytest.fixture(scope="module")
def ids(api: Any) -> list[str]:
    """Seven jobs, the newest first; every other one is canceled."""
    found = [api.http.post("/fuse", files=_FILE).json()["id"] for _ in range(7)]
    for job_id in found[::2]:
        api.http.delete(f"/v1/jobs/{job_id}")
    return found[::-1]


def _pages(api: Any, path: str) -> list[list[str]]:
    """Followed by the Link header, as programs do that know nothing of us."""
    pages = []
    while path:
        answer = api.http.get(path)
        assert answer.status_code == 200
        pages.append([job["id"] for job in answer.json()["jobs"]])
        path = answer.links.get("next", {}).get("url", "")
        assert (answer.json()["next"] is None) == (path == "")
    return pages


def test_pages_hold_every_job_once_and_newest_first(api: Any, ids: list[str]) -> None:
    assert _pages(api, "/v1/jobs?limit=3") == [ids[:3], ids[3:6], ids[6:]]
    assert _pages(api, "/v1/jobs?limit=7") == [ids]
    assert _pages(api, "/v1/jobs") == [ids]
    assert api.http.get("/v1/jobs").json()["jobs"][0] == api.http.get(f"/v1/jobs/{ids[0]}").json()


def test_a_state_may_be_asked_for_on_every_page(api: Any, ids: list[str]) -> None:
    assert _pages(api, "/v1/jobs?state=canceled&limit=3") == [ids[::2][:3], ids[::2][3:]]
    assert _pages(api, "/v1/jobs?state=succeeded") == [[]]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "limit=-1", "limit=1e9", "state=gone", "state="])
def test_what_is_no_limit_and_no_state_is_refused(api: Any, query: str) -> None:
    answer = api.http.get(f"/v1/jobs?{query}")

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-option")


def _cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


_HOSTILE = st.one_of(
    st.text(min_size=1, max_size=300),
    st.text(max_size=60).map(_cursor),
    st.builds(lambda time, job: _cursor(f"{time} {job}"), st.floats() | st.integers(), st.text(max_size=40)),
)


@given(cursor=_HOSTILE)
@example(cursor=_cursor("nan a"))
@example(cursor=_cursor("inf a"))
@example(cursor=_cursor("9e999 a"))
@example(cursor=_cursor("1795863558.5 a' OR '1'='1"))
@example(cursor=_cursor("1795863558.5 a\n"))
@example(cursor=_cursor("1_0 a"))
@example(cursor=_cursor("٣ a"))
@example(cursor="====")
@example(cursor="A" * 5000)
@example(cursor="\0")
@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_a_cursor_that_nobody_gave_is_a_page_or_a_problem(api: Any, ids: list[str], cursor: str) -> None:
    answer = api.http.get("/v1/jobs", params={"cursor": cursor, "limit": 2})

    if answer.status_code == 200:
        assert {job["id"] for job in answer.json()["jobs"]} <= set(ids)
    else:
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-cursor")
        assert answer.json()["remedy"]
