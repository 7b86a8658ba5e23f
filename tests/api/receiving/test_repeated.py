import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.receiving.repeated import Ongoing, read_key
from app.api.refusals import IdempotencyKeyInUse, IdempotencyKeyInvalid


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ('"abc"', "abc"),
        ('"abc";v=1', "abc"),
        (' "abc" ', "abc"),
        (r'"a\"b\\c"', 'a"b\\c'),
        ('"' + "x" * 255 + '"', "x" * 255),
    ],
)
def test_a_key_is_the_same_with_quotes_and_without(written: str, same: str) -> None:
    quoted = same.replace("\\", "\\\\").replace('"', '\\"')
    assert read_key([written], None) == read_key([f'"{quoted}"'], None)
    if '"' not in same:
        assert read_key([written], None) == read_key([same], None)


@pytest.mark.parametrize(
    "lines", [[""], [" "], ['""'], ['"a'], ['a"'], ["a b"], ["ä"], ['"a\x01"'], ['"a" "b"'], ["x" * 256], ["a", "a"]]
)
def test_what_is_no_key_is_refused(lines: list[str]) -> None:
    with pytest.raises(IdempotencyKeyInvalid):
        read_key(lines, None)


def test_without_a_header_there_is_no_key() -> None:
    assert read_key([], "alice") is None


def test_the_same_key_of_another_owner_is_another() -> None:
    assert len({read_key(["abc"], owner) for owner in (None, "alice", "bob", "")}) == 4


@given(pairs=st.tuples(*[st.tuples(st.none() | st.text(max_size=5), st.text("abc,[]:", min_size=1, max_size=5))] * 2))
def test_no_owner_and_key_are_taken_for_others(pairs: tuple[tuple[str | None, str], tuple[str | None, str]]) -> None:
    one, other = (read_key([key], owner) for owner, key in pairs)

    assert (one == other) == (pairs[0] == pairs[1])


def test_a_key_is_held_once_and_free_again_whatever_happened() -> None:
    ongoing = Ongoing()
    with ongoing.hold("a"), ongoing.hold("b"), ongoing.hold(None), ongoing.hold(None):
        with pytest.raises(IdempotencyKeyInUse), ongoing.hold("a"):
            pass
        with pytest.raises(IdempotencyKeyInUse), ongoing.hold("a"):
            pass

    def fail() -> None:
        with ongoing.hold("a"):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with ongoing.hold("a"):
        pass
