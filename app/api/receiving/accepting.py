"""From a request with a checkpoint to an accepted job: everything that POST and PUT do alike."""

import secrets
from collections.abc import AsyncIterable, Awaitable, Callable

import anyio
import sqlalchemy as sa
from fastapi import Request

from app.api.access import Caller
from app.api.deps import Service
from app.api.receiving.admission import Incoming
from app.api.receiving.digests import read_digests
from app.api.receiving.repeated import read_key
from app.api.receiving.uploads import Received, Reception, paced
from app.api.refusals import CodingNotSupported, IdempotencyKeyReused
from app.jobs.job import Input, Job
from app.jobs.quotas import Usage, lock_admission, read_usage
from app.jobs.table import insert_job, read_repeated

Receive = Callable[[Reception, AsyncIterable[bytes]], Awaitable[Received]]


async def accept(service: Service, caller: Caller, request: Request, receive: Receive) -> str:
    """Store the upload and queue the job; its id. Raises AppError.

    A caller who leaves halfway leaves nothing behind. A request that is repeated, by its Idempotency-Key, is only
    compared with the one that was accepted.
    """
    _check_coding(request)
    digests = read_digests(request.headers.getlist("content-digest"))
    key = read_key(request.headers.getlist("idempotency-key"), caller.key)
    declared = _content_length(request)
    service.uploads.check_declared(declared)
    job_id = secrets.token_hex(16)
    with service.ongoing.hold(key), service.admission.upload(caller.client, declared) as room:
        before = await anyio.to_thread.run_sync(_find_repeated, service, key)
        if before is None:
            await anyio.to_thread.run_sync(_check_room, service, caller, room)
        blobs = service.blobs if before is None else None
        async with Reception(job_id, blobs, service.uploads, room) as reception:
            received = await receive(reception, digests.over(paced(request.stream(), service.uploads)))
            digests.check()
            if before is not None:
                return _the_same(before, received)
            # Shielded: a caller who leaves now must not separate the row from its blob.
            with anyio.CancelScope(shield=True):
                accepted = await anyio.to_thread.run_sync(_enqueue, service, caller, job_id, received, key)
                if accepted == job_id:
                    reception.keep()
    return accepted


def _check_coding(request: Request) -> None:
    """What is stored is what is sent. Raises CodingNotSupported."""
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise CodingNotSupported(f"The body has the coding {coding[:100]!r}.", remedy="Send it without compression.")
    if "content-range" in request.headers:
        raise CodingNotSupported("The body is a part of a file.", remedy="Send the whole file: curl -T without -C.")


def _check_room(service: Service, caller: Caller, room: Incoming) -> None:
    """Refuse what could not be stored, or be worked on, before a byte is read."""
    with service.engine.connect() as connection:
        everything, own = read_usage(connection), _own_usage(connection, caller)
    service.quotas.check(everything, own, room.declared)
    # Every result is about as large as its file.
    needed = service.admission.to_come + room.declared + everything.expected_bytes
    room.check_disk(service.blobs.free_bytes(), needed)


def _own_usage(connection: sa.Connection, caller: Caller) -> Usage | None:
    return None if caller.key is None else read_usage(connection, caller.key)


def _enqueue(service: Service, caller: Caller, job_id: str, received: Received, key: str | None) -> str:
    """Job row and queue entry, both or neither; the id of the job that another process made of the same request."""
    with service.engine.begin() as connection:
        lock_admission(connection)
        before = None if key is None else read_repeated(connection, key)
        if before is not None:
            return _the_same(before, received)
        service.quotas.check(read_usage(connection), _own_usage(connection, caller), received.bytes)
        sequence = insert_job(
            connection,
            job_id,
            received.options,
            received.source,
            caller.key,
            probe=received.probe,
            idempotency=key,
        )
        service.queue.enqueue(connection, job_id, sequence)
    return job_id


def _find_repeated(service: Service, key: str | None) -> Job | None:
    if key is None:
        return None
    with service.engine.connect() as connection:
        return read_repeated(connection, key)


def _the_same(job: Job, received: Received) -> str:
    """The job that the same request made before. Raises IdempotencyKeyReused."""
    now, before = (received.source, received.probe), (job.input, job.probe)
    files = all(_alike(one, other) for one, other in zip(now, before, strict=True))
    if not files or received.options != job.options:
        raise IdempotencyKeyReused(
            f"The Idempotency-Key came before with {'other options' if files else 'another file'}.",
            remedy="Take a new key for a new request; the same one is for sending the same again.",
            job=f"/v1/jobs/{job.id}",
        )
    return job.id


def _alike(one: Input | None, other: Input | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.filename, one.sha256) == (other.filename, other.sha256)


def _content_length(request: Request) -> int | None:
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isdecimal() and len(declared) < 20 else None
