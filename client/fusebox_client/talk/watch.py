"""Waiting for a job: over server-sent events where they come through, else by asking again and again."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import httpx

from fusebox_client.problems import StillRunning, UnexpectedAnswer, answer_error
from fusebox_client.talk.bounded import LONGEST_EVENT, LONGEST_PROBLEM, Collected, too_large
from fusebox_client.talk.jobs import job_path, read
from fusebox_client.talk.patience import Patience, why
from fusebox_client.talk.sse import Event, EventReader
from fusebox_client.talk.steps import Call, Stream, Talk, close, open_stream, pause, receive
from fusebox_client.views import JobView, read_job

_HEARTBEATS = 40  # seconds; the service sends one every 15
_LONG_POLL = 25
_FAILURES = 3
_REFUSED = (404, 405, 406, 501)
_AGAIN = (408, 425, 429, 502, 503, 504)


class _NoEvents(Exception):
    """There are none to be had here: ask instead."""


@dataclass(slots=True)
class Watch:
    """One wait: who hears of changes, until when, and what was heard last."""

    job_id: str
    patience: Patience
    heard: Callable[[JobView], None]
    deadline: float  # by time.monotonic
    last: JobView | None = None
    reader: EventReader = field(default_factory=EventReader)

    def take(self, view: JobView) -> None:
        """Tell of a view unless the same was told before."""
        if self.last is None or (view.state, view.stage, view.recognised) != (
            self.last.state,
            self.last.stage,
            self.last.recognised,
        ):
            self.heard(view)
        self.last = view

    def left(self) -> float:
        """Seconds that there are. Raises StillRunning when there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            stage = self.last.stage if self.last else "unknown"
            raise StillRunning(f"Job {self.job_id} is not finished ({stage}); it goes on.")
        return left


def watch(one: Watch) -> Talk[JobView]:
    """The job when it has ended, whatever its end. Raises StillRunning at the deadline."""
    one.take((yield from read(one.job_id, one.patience)))
    try:
        return (yield from _by_events(one))
    except _NoEvents:
        return (yield from _by_asking(one))


def _by_asking(one: Watch) -> Talk[JobView]:
    while not (one.last and one.last.ended):
        began, wait = time.monotonic(), min(_LONG_POLL, one.left())
        one.take((yield from read(one.job_id, one.patience, wait)))
        if not (one.last and one.last.ended) and time.monotonic() - began < 0.5:
            yield from pause(min(0.5, one.left()))  # whoever answers at once does not know how to wait
    return one.last


def _by_events(one: Watch) -> Talk[JobView]:
    """Connect, and after every break connect again where it was left. Raises _NoEvents."""
    failures = 0
    while not (one.last and one.last.ended):
        before, reason = one.last, ""
        try:
            stream = yield from open_stream(_events(one))
        except httpx.TransportError as error:
            failures, reason = failures + 1, why(error)
        else:
            try:
                came = yield from _read_events(one, stream)
            finally:
                yield from close(stream)
            failures = 0 if came or one.last is not before else failures + 1
        if failures >= _FAILURES:
            raise _NoEvents  # if nobody is there at all, asking will tell
        if not (one.last and one.last.ended):
            seconds = min(one.patience.seconds(max(failures, 1)), one.left())
            if failures:
                one.patience.told(reason or "the events broke off", seconds)
            yield from pause(seconds)
    return one.last


def _events(one: Watch) -> Call:
    headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "Cache-Control": "no-store"}
    if one.reader.last_id:
        headers["Last-Event-ID"] = one.reader.last_id
    return Call("GET", job_path(one.job_id, "/events"), headers, silence=min(_HEARTBEATS, one.left()))


def _read_events(one: Watch, stream: Stream) -> Talk[bool]:
    """Take events until the stream ends or breaks; whether any came. Raises what the service refuses, _NoEvents."""
    if not stream.head.is_success:
        _check_refusal((yield from _refusal(stream)))
    elif stream.head.headers.get("content-type", "").partition(";")[0] != "text/event-stream":
        raise _NoEvents
    one.reader = EventReader(one.reader.last_id)
    silent, came = True, False
    try:
        while piece := (yield from receive(stream)):
            silent = False
            for event in one.reader.feed(piece):
                came = True
                one.take(_view(event))
            if one.reader.held > LONGEST_EVENT:
                raise too_large(stream.head, LONGEST_EVENT)
            if one.last and one.last.ended:
                break
            one.left()
    except httpx.ReadTimeout:
        one.left()
        if silent:  # not even a heartbeat: something on the way collects what is sent
            raise _NoEvents from None
    except httpx.TransportError:
        pass
    return came


def _refusal(stream: Stream) -> Talk[httpx.Response]:
    """What is said in the place of events, as far as it comes."""
    body = Collected(stream.head, LONGEST_PROBLEM)
    with suppress(httpx.TransportError):
        while piece := (yield from receive(stream)):
            body.take(piece)
    return body.whole()


def _check_refusal(answer: httpx.Response) -> None:
    if answer.status_code in _REFUSED and getattr(answer_error(answer), "code", "") != "job-not-found":
        raise _NoEvents
    if answer.status_code not in _AGAIN:
        raise answer_error(answer)


def _view(event: Event) -> JobView:
    try:
        return read_job(json.loads(event.data))
    except (ValueError, RecursionError):
        raise UnexpectedAnswer("An event holds no job: is the service another version?") from None
