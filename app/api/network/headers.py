"""The headers that every answer carries, whoever made it: a browser takes nothing for more than it is."""

from typing import Final

Headers = list[tuple[bytes, bytes]]

_ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
# Nothing of the API is a document: what a browser shows of it may load and run nothing.
_INERT: Final = b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; sandbox"
# Pages load scripts, styles and pictures of their own from here, and talk to here; no script stands in the page itself.
_PAGE: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    b"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# A form of a page without a referrer comes from "null", as one of another site does; nobody else is told an address.
_REFERRER: Final = (b"referrer-policy", b"same-origin")


def secured(headers: Headers) -> Headers:
    """The headers of an answer with those that it lacks; what it states itself stays."""
    given = {name.lower(): value for name, value in headers}
    page = given.get(b"content-type", b"").startswith(b"text/html")
    policy = (b"content-security-policy", _PAGE if page else _INERT)
    own = (policy, *((_REFERRER,) if page else ()))
    return [*headers, *((name, value) for name, value in dict((*_ALWAYS, *own)).items() if name not in given)]
