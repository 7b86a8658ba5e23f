"""By which names the service answers, and whether a browser sends from a page of its own.

Without keys a service on loopback is safe from the network, but not from web pages: a page may resolve its own name to
127.0.0.1 ("DNS rebinding") and then read every answer, or post a form to it. So there only loopback's own names, plain
addresses and the configured names are answered, and nobody's pages but our own may change anything.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from app.api.refusals import BadRequest, CrossSite, UnknownHost

_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?")
_ADDRESS = re.compile(r"\[.*\]|\d{1,3}(\.\d{1,3}){3}")
_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True, slots=True)
class HostRules:
    """`names` are answered; where there are none, every name is, or only this machine's own if `local`."""

    names: frozenset[str]
    local: bool

    def check(self, method: str, headers: Mapping[str, str]) -> None:
        """Raises BadRequest, UnknownHost, CrossSite. HTTP/1.0 knows no Host header."""
        host = headers.get("host", "")
        matched = _HOST.fullmatch(host)
        if host and matched is None:
            raise BadRequest("The Host header is not a host name.", remedy="Send the name and port of this service.")
        name = matched["name"].lower().rstrip(".") if matched else ""
        if name and not self._answers(name):
            raise UnknownHost(
                f"The service does not answer for the host {name[:100]!r}.",
                remedy="Use its address, or have the operator add the name to FUSEBOX_ALLOWED_HOSTS.",
            )
        if method in _UNSAFE and _from_elsewhere(host, headers):
            raise CrossSite(
                "The request comes from a web page of another site.",
                remedy="Use a program, such as curl, or this service's own page.",
            )

    def _answers(self, name: str) -> bool:
        if name in self.names:
            return True
        if self.local:
            return _ADDRESS.fullmatch(name) is not None or name == "localhost" or name.endswith(".localhost")
        return not self.names


def _from_elsewhere(host: str, headers: Mapping[str, str]) -> bool:
    """What browsers say of where a request comes from; programs say nothing."""
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != host.lower()
