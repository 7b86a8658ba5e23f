"""The OpenAPI document is the truth: requests made from it get no answer that it does not tell, and never a 500."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schemathesis.checks import not_a_server_error
from schemathesis.generation.modes import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app import errors
from app.api import refusals

_ROOT = Path(__file__).resolve().parent.parent.parent
_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
_OPERATIONS = [
    ("POST", "/fuse"),
    ("PUT", "/fuse/{name}"),
    ("GET", "/v1/jobs"),
    ("GET", "/v1/jobs/{job_id}"),
    ("DELETE", "/v1/jobs/{job_id}"),
    ("GET", "/v1/jobs/{job_id}/model"),
    ("GET", "/v1/jobs/{job_id}/report"),
    ("GET", "/v1/jobs/{job_id}/report.md"),
    ("GET", "/v1/jobs/{job_id}/report.html"),
    ("GET", "/v1/jobs/{job_id}/comparison.py"),
    ("GET", "/v1/jobs/{job_id}/bundle"),
    ("GET", "/v1/jobs/{job_id}/events"),
    ("GET", "/v1/jobs/{job_id}/done"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
]


# Where something can be wrong about a request; elsewhere any request is right.
_RIGHT_ALWAYS = [("DELETE", "/v1/jobs/{job_id}"), ("GET", "/livez"), ("GET", "/readyz")]
_WITH_WRONG_ONES = [one for one in _OPERATIONS if one not in _RIGHT_ALWAYS]


@pytest.fixture(scope="module")
def service(server: Any) -> Any:
    """A service that has jobs of every state, and its document."""
    path = _ROOT / "tests/data/acnet/blocks.pt"
    done, failed, gone = (server.upload(path), server.upload(_ROOT / "README.md"), server.upload(path))
    for job in (done, failed, gone):
        assert server.job(job, wait=60)["state"] in ("succeeded", "failed")
    server.http.delete(f"/v1/jobs/{gone}")
    schema = schemathesis.openapi.from_dict(server.http.get("/openapi.json").json())
    return server, schema, [done, failed, gone]


@pytest.mark.parametrize(("method", "path"), _OPERATIONS)
def test_answers_are_those_that_the_document_tells(service: Any, method: str, path: str) -> None:
    server, schema, jobs = service
    operation = schema[path][method]
    ids = st.sampled_from([*jobs[: 1 if method == "GET" else 0], *jobs[1:], None])

    cases = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    if (method, path) in _WITH_WRONG_ONES:
        cases |= operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

    @given(case=cases, job=ids, wait=st.sampled_from(["0", "0.01", None]))
    @settings(
        max_examples=25,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def hold(case: Any, job: str | None, wait: str | None) -> None:
        if "{job_id}" in path and job is not None:
            case.path_parameters = {"job_id": job}
        if wait is not None and method == "GET" and "wait" in (case.query or {}):
            case.query["wait"] = wait  # else as it was made: a time, or none at all
        case.call_and_validate(base_url=server.url, checks=_CHECKS, timeout=60)

    hold()


def test_every_path_of_the_document_is_tried(service: Any) -> None:
    _, schema, _ = service

    assert {(one.ok().method.upper(), one.ok().path) for one in schema.get_all_operations()} == set(_OPERATIONS)


def test_every_problem_is_documented_with_an_example(service: Any) -> None:
    server, _, _ = service
    document = server.http.get("/openapi.json").json()
    answers = [
        (int(status), answer.get("content", {}).get("application/problem+json", {}).get("examples", {}))
        for operations in document["paths"].values()
        for operation in operations.values()
        for status, answer in operation["responses"].items()
    ]

    told = {(code, status, one["value"]["status"]) for status, codes in answers for code, one in codes.items()}

    kinds = [one for module in (errors, refusals) for one in vars(module).values() if isinstance(one, type)]
    tree = {one for one in kinds if issubclass(one, errors.AppError)} - {errors.AppError}
    assert told == {(kind.code, kind.status, kind.status) for kind in tree}


def test_every_answer_and_upload_is_shown_by_an_example(service: Any) -> None:
    server, _, _ = service
    document = server.http.get("/openapi.json").json()
    schemas = document["components"]["schemas"]

    assert document["openapi"].startswith("3.1.")
    for name in ("JobView", "JobPage", "Health"):
        told = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        (example,) = schemas[name]["examples"]
        Draft202012Validator(told).validate(example)
    for upload in (document["paths"]["/fuse"]["post"], document["paths"]["/fuse/{name}"]["put"]):
        parameters = {one["name"]: one for one in upload["parameters"]}
        assert {"Idempotency-Key", "Content-Digest", "wait"} <= set(parameters)
        assert all(parameters[name]["example"] for name in ("Idempotency-Key", "Content-Digest"))


def test_the_same_holds_where_keys_are_needed(api_with: Callable[..., Any]) -> None:
    api = api_with(auth="required")
    schema = schemathesis.openapi.from_dict(api.http.get("/openapi.json").json())

    for path in ("/fuse", "/v1/jobs/{job_id}/model"):
        operation = schema[path]["POST" if path == "/fuse" else "GET"]
        case = operation.Case(path_parameters={"job_id": "x"} if "{" in path else {})
        response = case.call(base_url=api.url)
        assert response.status_code == 401
        case.validate_response(response, checks=_CHECKS)
