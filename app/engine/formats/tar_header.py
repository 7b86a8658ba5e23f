"""Whether the beginning of a file is the header of a tar archive, whatever else it is.

torch.load tries tar (of before torch 0.2) ahead of the legacy format: a file that is both holds pickles that were not
looked at.
"""

from typing import Final

HEADER_BYTES: Final = 512
_CHECKSUM: Final = slice(148, 156)


def is_tar_header(head: bytes) -> bool:
    """The checksum is what tar readers know a header by: the sum of its bytes, its own eight taken as spaces.

    Some wrote signed sums; POSIX.1-1988, "ustar", and GNU's numbers in base 256.
    """
    if len(head) < HEADER_BYTES:
        return False
    head = head[:HEADER_BYTES]
    field = head[_CHECKSUM]
    counted = head[: _CHECKSUM.start] + b" " * len(field) + head[_CHECKSUM.stop :]
    unsigned = sum(counted)
    signed = unsigned - 256 * sum(byte >= 0x80 for byte in counted)
    return _number(field) in (unsigned, signed)


def _number(field: bytes) -> int | None:
    if field[0] in (0x80, 0xFF):
        return int.from_bytes(field[1:], "big") - (256 ** (len(field) - 1) if field[0] == 0xFF else 0)
    try:
        return int(field.partition(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        return None
