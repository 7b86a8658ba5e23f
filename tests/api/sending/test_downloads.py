import re
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import StreamingResponse

from app.api.filenames import clean_filename, content_disposition
from app.api.refusals import PreconditionFailed
from app.api.sending.downloads import Download, send_download
from app.errors import JobExpired
from app.storage import LocalBlobs

_CONTENT = b"0123456789"


@given(name=st.text(min_size=1, max_size=300))
def test_no_name_breaks_out_of_its_header(name: str) -> None:
    header = content_disposition(name)

    header.encode("ascii")
    matched = re.fullmatch(
        r'attachment; filename="([^"\\\x00-\x1f]*)"(; filename\*=UTF-8\'\'([A-Za-z0-9%._~-]*))?', header
    )
    assert matched is not None
    assert (unquote(matched[3]) if matched[2] else matched[1]) == clean_filename(name)
    assert len(header) < 2500


def test_a_plain_name_needs_no_second_form() -> None:
    assert content_disposition("yolov7.fused.pt") == 'attachment; filename="yolov7.fused.pt"'
    assert content_disposition("größe.pt") == "attachment; filename=\"gr__e.pt\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.pt"


def _answer(directory: Path, method: str = "GET", **headers: str) -> tuple[int, dict[str, str]]:
    blobs = LocalBlobs(directory / "blobs")
    upload = blobs.upload("a/model")
    upload.write(_CONTENT)
    upload.commit()
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    request = Request({"type": "http", "method": method, "path": "/", "headers": raw, "query_string": b""})
    read = partial(blobs.read, "a/model")
    answer = send_download(Download("a.pt", len(_CONTENT), f'"{"ab" * 32}"', "ab" * 32, read), request)
    if isinstance(answer, StreamingResponse):
        sent = anyio.run(_body, answer)
        assert len(sent) == int(answer.headers["content-length"])
    return answer.status_code, dict(answer.headers)


async def _body(answer: StreamingResponse) -> bytes:
    return b"".join([bytes(piece) async for piece in answer.body_iterator])


@pytest.mark.parametrize(
    ("asked", "status", "length"),
    [
        ("bytes=0-0", 206, "1"),
        ("bytes=9-9", 206, "1"),
        ("bytes=5-99", 206, "5"),
        ("bytes=-99", 206, "10"),
        ("bytes=10-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=5-4", 200, "10"),
        ("bytes=0-1,3-4", 200, "10"),
        ("bytes=-", 200, "10"),
        ("lines=1-2", 200, "10"),
        ("bytes=99999999999999999999-", 200, "10"),
    ],
)
def test_ranges_are_served_refused_or_ignored_as_the_rfc_has_it(
    tmp_path: Path, asked: str, status: int, length: str | None
) -> None:
    answered, headers = _answer(tmp_path, range=asked)

    assert answered == status
    if length is not None:
        assert headers["content-length"] == length


@pytest.mark.parametrize("tag", ['"{0}"', 'W/"{0}"', '"other", "{0}"', "*"])
def test_a_known_version_is_not_sent_again(tmp_path: Path, tag: str) -> None:
    status, headers = _answer(tmp_path, if_none_match=tag.format("ab" * 32))

    assert status == 304
    assert headers["etag"] == f'"{"ab" * 32}"'


def test_another_version_is_sent(tmp_path: Path) -> None:
    assert _answer(tmp_path, if_none_match='"other"')[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_an_answer_to_an_upload_is_always_whole(tmp_path: Path, method: str) -> None:
    status, headers = _answer(tmp_path, method=method, range="bytes=0-1", if_none_match="*")

    assert (status, headers["content-length"]) == (200, "10")


def test_head_knows_no_ranges(tmp_path: Path) -> None:
    status, headers = _answer(tmp_path, method="HEAD", range="bytes=0-1")

    assert (status, headers["content-length"]) == (200, "10")


@pytest.mark.parametrize(
    ("condition", "status"),
    [(f'"{"ab" * 32}"', 206), (f'W/"{"ab" * 32}"', 200), ("Sat, 01 Jan 2000 00:00:00 GMT", 200)],
)
def test_a_range_of_a_version_is_sent_only_if_it_is_surely_that_one(
    tmp_path: Path, condition: str, status: int
) -> None:
    assert _answer(tmp_path, range="bytes=0-1", if_range=condition)[0] == status


@pytest.mark.parametrize("tag", ['"{0}"', '"other", "{0}"', "*"])
def test_a_version_that_is_demanded_is_sent(tmp_path: Path, tag: str) -> None:
    status, headers = _answer(tmp_path, range="bytes=3-", if_match=tag.format("ab" * 32))

    assert (status, headers["content-length"]) == (206, "7")


@pytest.mark.parametrize("tag", ['W/"{0}"', '"other"', '"other", "more"', "nonsense"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_no_part_of_another_version_than_is_demanded_is_sent(tmp_path: Path, method: str, tag: str) -> None:
    with pytest.raises(PreconditionFailed):
        _answer(tmp_path, method, range="bytes=3-", if_match=tag.format("ab" * 32))


def test_a_blob_that_is_gone_is_an_expired_job(tmp_path: Path) -> None:
    request = Request({"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""})

    with pytest.raises(JobExpired):
        send_download(Download("a.pt", 1, '"a"', "ab" * 32, partial(LocalBlobs(tmp_path).read, "a/model")), request)
