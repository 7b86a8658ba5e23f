import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.sending.negotiation import preferred, takes_gzip

_OFFERS = ("application/json", "text/markdown", "text/html")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ([], "application/json"),
        (["*/*"], "application/json"),
        (["text/markdown"], "text/markdown"),
        (["TEXT/Markdown; charset=utf-8"], "text/markdown"),
        (["text/*"], "text/markdown"),
        (["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], "text/html"),
        (["application/json;q=0.5, text/markdown;q=0.6"], "text/markdown"),
        (["application/json;q=0.5", "text/html;q=0.6"], "text/html"),
        (["*/*, application/json;q=0"], "text/markdown"),
        (["text/*;q=0.2, text/html;q=0.1"], "text/markdown"),
        (["text/html;q=0"], "application/json"),
        (["image/png"], "application/json"),
        (["nonsense, ;;, /, text/markdown"], "text/markdown"),
        (["text/markdown;q=2"], "text/markdown"),
    ],
)
def test_the_kind_that_is_liked_best_is_chosen(accept: list[str], kind: str) -> None:
    assert preferred(accept, _OFFERS) == kind


@pytest.mark.parametrize(
    ("accept_encoding", "taken"),
    [
        ([], False),
        ([""], False),
        (["identity"], False),
        (["gzip"], True),
        (["GZip;q=0.5"], True),
        (["br", "deflate, x-gzip"], True),
        (["*"], True),
        (["gzip;q=0"], False),
        (["gzip;q=0.000, *"], False),
        (["*;q=0"], False),
        (["gzipped, notgzip"], False),
    ],
)
def test_gzip_is_taken_by_whoever_says_so(accept_encoding: list[str], taken: bool) -> None:
    assert takes_gzip(accept_encoding) is taken


@given(accept=st.lists(st.text(max_size=60), max_size=3))
def test_any_header_leads_to_some_kind(accept: list[str]) -> None:
    assert preferred(accept, _OFFERS) in _OFFERS
    assert takes_gzip(accept) in (True, False)
