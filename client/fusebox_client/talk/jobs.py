"""Short conversations about jobs: send a file, read, list, cancel, report."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from fusebox_client.problems import DigestMismatch, JobNotFound, Problem, UnexpectedAnswer
from fusebox_client.talk.multipart import Form
from fusebox_client.talk.patience import Patience, ask
from fusebox_client.talk.steps import Call, Talk
from fusebox_client.views import JobView, read_job


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, and where the next begins."""

    jobs: tuple[JobView, ...]
    next: str | None


def submit(form: Form, idempotency_key: str, patience: Patience) -> Talk[JobView]:
    """Upload a form; after this the service does not lose the job.

    The digest that the service found is compared with that of the bytes that were read here.
    """
    headers = {"Idempotency-Key": _key_header(idempotency_key)}
    call = Call("POST", "/fuse", headers, body=form, silence=180)
    job = read_job(body_of((yield from ask(call, patience))))
    if job.input.sha256 != form.sha256:
        yield from cancel(job.id, patience)
        raise DigestMismatch(f"{job.input.filename} arrived as other bytes than were sent; the job was canceled.")
    return job


def read(job_id: str, patience: Patience, wait: float = 0) -> Talk[JobView]:
    """Where a job stands; with `wait`, the service answers when it has ended, or when the time is up."""
    query: Mapping[str, str | int | float] = {"wait": round(wait, 3)} if wait else {}
    call = Call("GET", job_path(job_id), query=query, silence=wait + 30)
    return read_job(body_of((yield from ask(call, patience))))


def list_page(state: str | None, limit: int, cursor: str | None, patience: Patience) -> Talk[Page]:
    """Jobs of this key, the newest first."""
    given = {"limit": limit, "state": state, "cursor": cursor}
    call = Call("GET", "/v1/jobs", query={name: value for name, value in given.items() if value is not None})
    body = body_of((yield from ask(call, patience)))
    jobs, after = body.get("jobs"), body.get("next")
    if not isinstance(jobs, list):
        raise UnexpectedAnswer("The answer is no list of jobs: is the service another version?")
    return Page(tuple(read_job(one) for one in jobs), after if isinstance(after, str) else None)


def cancel(job_id: str, patience: Patience) -> Talk[JobView]:
    """End a job that goes on, or forget one that has ended: its files are removed."""
    return read_job(body_of((yield from ask(Call("DELETE", job_path(job_id)), patience))))


def read_report(job_id: str, patience: Patience) -> Talk[dict[str, Any]]:
    """The report's JSON."""
    call = Call("GET", job_path(job_id, "/report"), {"Accept": "application/json"})
    return body_of((yield from ask(call, patience)))


def _key_header(key: str) -> str:
    """A string as structured fields write it (RFC 9651, section 3.3.3); what can't be one is sent as its digest."""
    if not (0 < len(key) <= 255 and key.isascii() and key.isprintable()):
        key = hashlib.sha256(key.encode()).hexdigest()
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def job_path(job_id: str, part: str = "") -> str:
    """Raises JobNotFound for what can't be an id: it would lead elsewhere."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,200}", job_id):
        raise JobNotFound(Problem("job-not-found", 404, "No such job", f"{job_id[:100]!r} is no id of a job."))
    return f"/v1/jobs/{job_id}{part}"


def body_of(answer: httpx.Response) -> dict[str, Any]:
    """The answer's JSON object. Raises UnexpectedAnswer."""
    try:
        body = answer.json()
    except (ValueError, RecursionError):  # the second: of lists in lists in lists
        body = None
    if not isinstance(body, dict):
        request = f"{answer.request.method} {answer.request.url}"
        raise UnexpectedAnswer(f"{request} was not answered with a JSON object: is that a Fusebox service?")
    return body
