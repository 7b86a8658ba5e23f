"""Trying again: what is worth another attempt, and after which pause."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import count

import httpx

from fusebox_client.problems import Unreachable, answer_error
from fusebox_client.talk.steps import Call, Talk, pause, send

# Too slow, too early, too many, and what a gateway says while the service restarts.
_AGAIN = (408, 425, 429, 502, 503, 504)
# The first request with this idempotency key is still being received.
_AGAIN_CODES = ("idempotency-key-in-use",)
# What no other attempt changes.
_HOPELESS = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)


def _silent(_reason: str, _seconds: float) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Patience:
    """How often to try again; pauses double from `first` to `longest` seconds, and the service's own wish counts."""

    attempts: int = 6
    first: float = 0.5
    longest: float = 20
    told: Callable[[str, float], None] = _silent  # hears why and for how many seconds, before each pause

    def seconds(self, attempt: int, answer: httpx.Response | None = None) -> float:
        asked = None if answer is None else _retry_after(answer.headers.get("retry-after", ""))
        if asked is not None:
            return min(asked, self.longest)
        return float(min(self.first * 2 ** (attempt - 1), self.longest) * random.uniform(0.75, 1.25))


def ask(call: Call, patience: Patience) -> Talk[httpx.Response]:
    """A successful answer. Raises what the service says, or Unreachable when patience ends.

    A POST goes out again only if it carries an idempotency key: the service then knows it as the same one.
    """
    for attempt in count(1):
        last = attempt >= patience.attempts
        try:
            answer = yield from send(call)
        except httpx.TransportError as error:
            if last or isinstance(error, _HOPELESS):
                raise unreachable(error) from error
            reason, seconds = why(error), patience.seconds(attempt)
        else:
            if answer.is_success or answer.status_code == 304:
                return answer
            if last or not _worth_another(answer):
                raise answer_error(answer)
            reason, seconds = str(answer_error(answer)), patience.seconds(attempt, answer)
        patience.told(reason, seconds)
        yield from pause(seconds)
    raise AssertionError("count ends")


def unreachable(error: httpx.TransportError) -> Unreachable:
    """The words for a service that could not be reached."""
    try:
        where = f"{error.request.url.scheme}://{error.request.url.netloc.decode()}"
    except RuntimeError:  # it happened before there was a request
        where = "the service"
    return Unreachable(f"{where} does not answer: {why(error)}.")


def why(error: httpx.TransportError) -> str:
    """What broke, in a few words."""
    if isinstance(error, httpx.ReadTimeout):
        return "no answer in time"
    return re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__


def _worth_another(answer: httpx.Response) -> bool:
    if answer.status_code in _AGAIN:
        return True
    return answer.status_code == 409 and getattr(answer_error(answer), "code", "") in _AGAIN_CODES


def _retry_after(value: str) -> float | None:
    """Seconds, or a date (RFC 9110, section 10.2.3); None for what is neither."""
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
