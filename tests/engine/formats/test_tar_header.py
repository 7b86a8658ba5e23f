"""A tar archive is known by the checksum of its first header, in whatever way its writer counted."""

import io
import tarfile

import pytest

from app.engine.formats.tar_header import HEADER_BYTES, is_tar_header
from tests.hostile.corpus import assemble


def header(form: int, name: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return out.getvalue()[:HEADER_BYTES]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["storages", "\xe4" * 40])
def test_headers_that_tools_write_are_known(form, name):
    assert is_tar_header(header(form, name))


def test_signed_sums_and_numbers_in_base_256_are_known():
    made = bytearray(header(tarfile.GNU_FORMAT, "\xe4" * 9))
    unsigned, signed = tarfile.calc_chksums(bytes(made))
    for field in (b"%06o\0 " % signed, b"\x80" + unsigned.to_bytes(7, "big"), b"\x80" + signed.to_bytes(7, "big")):
        made[148:156] = field
        assert is_tar_header(bytes(made))
    made[148:156] = b"\x80" + (unsigned + 1).to_bytes(7, "big")
    assert not is_tar_header(bytes(made))


def test_a_sum_below_zero_is_known():
    made = bytearray(b"\xff" * HEADER_BYTES)
    made[148:156] = b"\xff" + (tarfile.calc_chksums(bytes(made))[1]).to_bytes(7, "big", signed=True)

    assert is_tar_header(bytes(made))


def test_other_files_are_not_taken_for_one():
    assert not is_tar_header(assemble.saved(2, zipped=False)[:HEADER_BYTES])
    assert not is_tar_header(header(tarfile.GNU_FORMAT, "x")[:-1])
    assert not is_tar_header(bytes(HEADER_BYTES))
    assert not is_tar_header(header(tarfile.GNU_FORMAT, "x").replace(b"x", b"y", 1))
