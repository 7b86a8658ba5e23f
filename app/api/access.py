"""Who asks: the key of a request, and whose jobs it may see."""

from dataclasses import dataclass

from starlette.datastructures import Headers

from app.api.refusals import InvalidKey, MissingKey
from app.jobs.job import Job
from app.jobs.keys import Keyring

_HOW = "Send it as a header: curl -H 'Authorization: Bearer KEY'"


@dataclass(frozen=True, slots=True)
class Caller:
    """One key, or, where none is asked for, whoever reaches us; `client` is what limits are counted for."""

    key: str | None
    client: str

    def may_see(self, job: Job) -> bool:
        """A job accepted while no key was asked for is nobody's: whoever knows its id reaches it."""
        return job.owner is None or job.owner == self.key


def identify(keyring: Keyring, headers: Headers) -> str:
    """The owner of the key that a request carries. Raises MissingKey, InvalidKey."""
    given = headers.getlist("authorization")
    if not given:
        raise MissingKey("The request carries no API key.", remedy=_HOW)
    scheme, _, token = given[0].partition(" ")
    if len(given) > 1 or scheme.lower() != "bearer":
        raise InvalidKey("The Authorization header is not one of the scheme Bearer.", remedy=_HOW)
    owner = keyring.owner(token.strip())
    if owner is None:
        raise InvalidKey("The API key is not known, or was revoked.", remedy="Ask the operator for a valid one.")
    return owner
