import base64
import hashlib
from collections.abc import AsyncIterator

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.receiving.digests import read_digests
from app.api.refusals import DigestInvalid, DigestMismatch, DigestUnsupported

_BODY = b"0123456789" * 300_000


def _field(algorithm: str, body: bytes) -> str:
    digest = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512, "md5": hashlib.md5}[algorithm](body).digest()
    return f"{algorithm}=:{base64.b64encode(digest).decode()}:"


def _check(*lines: str, body: bytes = _BODY, piece: int = 70_000) -> bytes:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), piece):
            yield body[at : at + piece]

    async def run() -> bytes:
        digests = read_digests(lines)
        seen = b"".join([one async for one in digests.over(pieces())])
        digests.check()
        return seen

    return anyio.run(run)


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (_field("sha-256", _BODY),),
        (_field("sha-512", _BODY),),
        (f"{_field('sha-512', _BODY)}, {_field('sha-256', _BODY)}",),
        (f"{_field('sha-512', _BODY)} ,\t{_field('sha-256', _BODY)}",),
        (_field("sha-512", _BODY), _field("sha-256", _BODY)),
        (f"{_field('md5', b'anything')},{_field('sha-256', _BODY)}",),
        (_field("sha-256", _BODY) + ";a;b=1",),
        (f"{_field('sha-256', b'other')}, {_field('sha-256', _BODY)}",),  # the last of a name counts
        (_field("sha-256", _BODY).replace("=:", "=:", 1)[:-2] + ":",),  # without its padding
    ],
)
def test_a_body_with_its_digests_passes_unchanged(lines: tuple[str, ...]) -> None:
    assert _check(*lines) == _BODY


@pytest.mark.parametrize("algorithm", ["sha-256", "sha-512"])
def test_another_body_is_found_out_by_every_algorithm(algorithm: str) -> None:
    right = {"sha-256": "sha-512", "sha-512": "sha-256"}[algorithm]

    with pytest.raises(DigestMismatch, match=algorithm):
        _check(_field(right, _BODY), _field(algorithm, _BODY[:-1]))


def test_an_empty_body_has_a_digest_too() -> None:
    assert _check(_field("sha-256", b""), body=b"") == b""
    with pytest.raises(DigestMismatch):
        _check(_field("sha-256", _BODY), body=b"")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "sha-256",
        "sha-256=",
        "sha-256=abc",
        "sha-256=:abc",
        "sha-256=:a:",
        "sha-256=:AAAA:",
        "SHA-256=" + _field("sha-256", _BODY).partition("=")[2],
        _field("sha-256", _BODY).replace("sha-256", "sha-512"),
        _field("sha-256", _BODY) + ",",
        "," + _field("sha-256", _BODY),
        _field("sha-256", _BODY) + ";",
        _field("sha-256", _BODY) + " x",
        f'{_field("sha-256", _BODY)}, md5="x"',
        "a=:AAAA:," * 2000 + _field("sha-256", _BODY),
    ],
)
def test_what_is_no_digest_is_refused(line: str) -> None:
    with pytest.raises(DigestInvalid) as caught:
        read_digests([line])
    assert caught.value.remedy


def test_a_digest_that_nobody_checks_is_refused_rather_than_ignored() -> None:
    with pytest.raises(DigestUnsupported, match="md5, unixsum"):
        read_digests([f"{_field('md5', _BODY)}, unixsum=:AAAA:"])


@given(text=st.text(alphabet=st.characters(codec="latin-1"), max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read_digests([text])
    except (DigestInvalid, DigestUnsupported):
        return
    assert "sha-" in text
