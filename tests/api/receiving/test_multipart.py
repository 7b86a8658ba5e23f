from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.filenames import clean_filename
from app.api.receiving.multipart import Event, MultipartReader, PartBegins, PartBytes, PartEnds, read_boundary
from app.errors import MalformedUpload, NotMultipart

_BODY = (
    b'--b\r\nContent-Disposition: form-data; name="dtype"\r\n\r\nfloat32\r\n'
    b'--b\r\nContent-Type: application/x\r\nContent-Disposition: form-data; name="model"; filename="d/\xc3\xa4.pt"\r\n'
    b"\r\n\r\n--c in the data\r\n--\r\n--b--\r\n"
)


def _joined(events: list[Event]) -> list[Event]:
    """Pieces of one part put together."""
    joined: list[Event] = []
    for event in events:
        if isinstance(event, PartBytes) and joined and isinstance(joined[-1], PartBytes):
            joined[-1] = PartBytes(joined[-1].data + event.data)
        else:
            joined.append(event)
    return joined


@given(cuts=st.lists(st.integers(0, len(_BODY)), max_size=20))
def test_a_form_reads_the_same_however_it_is_cut(cuts: list[int]) -> None:
    reader = MultipartReader(b"b")
    edges = [0, *sorted(cuts), len(_BODY)]
    events = [event for start, stop in pairwise(edges) for event in reader.feed(_BODY[start:stop])]
    reader.finish()

    assert _joined(events) == [
        PartBegins("dtype", None),
        PartBytes(b"float32"),
        PartEnds(),
        PartBegins("model", "ä.pt"),
        PartBytes(b"\r\n--c in the data\r\n--"),
        PartEnds(),
    ]


@given(body=st.binary(max_size=200))
def test_any_bytes_are_a_form_or_a_malformed_upload(body: bytes) -> None:
    def read() -> None:
        reader = MultipartReader(b"b")
        list(reader.feed(b"--b\r\n" + body))
        reader.finish()

    with pytest.raises(MalformedUpload):
        read()


@pytest.mark.parametrize("kind", ["", "text/plain", "multipart/mixed; boundary=b", "MULTIPART"])
def test_other_kinds_of_body_are_no_form(kind: str) -> None:
    with pytest.raises(NotMultipart, match="multipart/form-data"):
        read_boundary(kind)


def test_a_boundary_may_be_quoted_and_the_kind_in_capitals() -> None:
    assert read_boundary('Multipart/Form-Data; charset=utf-8; boundary="a b"') == b"a b"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("yolov7.pt", "yolov7.pt"),
        ("/home/me/yolov7.pt", "yolov7.pt"),
        ("C:\\models\\yolov7.pt", "yolov7.pt"),
        ("../../etc/passwd", "passwd"),
        ("..", "model"),
        ("", "model"),
        ("a\r\nSet-Cookie: x.pt", "aSet-Cookie: x.pt"),
        ("x" * 400 + ".pt", "x" * 148 + ".pt"),
    ],
)
def test_a_file_name_is_one_printable_part_of_a_path(given: str, kept: str) -> None:
    assert clean_filename(given) == kept
