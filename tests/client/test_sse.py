"""The reader of server-sent events."""

import pytest

from fusebox_client.talk.sse import Event, EventReader

_STREAM = (
    "\ufeffretry: 2000\n\nid: 1\nevent: job\ndata: one\n\n: heartbeat\n\n"
    "id: 2\r\nevent:job\r\ndata: größer\r\ndata:\r\ndata: three\r\n\r\nid\ndata: no id\n\nid: 7\n\ndata: last"
).encode()
_EVENTS = [Event("job", "one", "1"), Event("job", "größer\n\nthree", "2"), Event("message", "no id", "")]


@pytest.mark.parametrize("length", [1, 2, 3, 7, 1000])
def test_events_are_the_same_however_the_bytes_are_cut(length: int) -> None:
    reader = EventReader()

    pieces = [_STREAM[at : at + length] for at in range(0, len(_STREAM), length)]
    assert [event for piece in pieces for event in reader.feed(piece)] == _EVENTS


def test_an_id_counts_once_its_event_is_complete() -> None:
    reader = EventReader(last_id="3")

    assert list(reader.feed(b"id: 4\ndata: half")) == []
    assert reader.last_id == "3"
    assert list(reader.feed(b"\n\n")) == [Event("message", "half", "4")]
    assert reader.last_id == "4"


def test_an_id_without_data_is_remembered_and_one_with_a_null_is_not() -> None:
    reader = EventReader()

    assert list(reader.feed(b"id: 9\n\nid: 1\0\n\n")) == []
    assert reader.last_id == "9"


def test_lone_carriage_returns_end_lines() -> None:
    reader = EventReader()

    assert list(reader.feed(b"data: a\rdata: b\r\r\n")) == [Event("message", "a\nb", "")]
