"""What pages load: styles, scripts and pictures, read once, under addresses that change with their content."""

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

STATIC = Path(__file__).parent / "static"

# The system's own table differs from machine to machine; a script of the wrong type would not run.
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".json": "application/json"}
_SMALLEST_TO_COMPRESS = 500


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, and the same compressed where that saves something."""

    content: bytes
    gzipped: bytes | None
    media_type: str


@cache
def assets() -> Mapping[str, Asset]:
    """All of them by their path below `static/`."""
    files = sorted(path for path in STATIC.rglob("*") if path.is_file())
    return MappingProxyType({path.relative_to(STATIC).as_posix(): _read(path) for path in files})


@cache
def assets_version() -> str:
    """A name for the content of all of them: modules import each other by relative addresses, so they change as one."""
    digest = hashlib.sha256()
    for name, asset in assets().items():
        digest.update(f"{name}\0{len(asset.content)}\0".encode() + asset.content)
    return digest.hexdigest()[:16]


def text(name: str) -> str:
    """A style or a script, to be written into a document."""
    return assets()[name].content.decode()


def _read(path: Path) -> Asset:
    content = path.read_bytes()
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    zipped = gzip.compress(content, mtime=0) if len(content) >= _SMALLEST_TO_COMPRESS else content
    return Asset(content, zipped if len(zipped) < len(content) else None, kind)
