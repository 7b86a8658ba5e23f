"""Names of files on their way in and out: one plain, bounded name, never a path, and never more than one header."""

import re
from urllib.parse import quote


def clean_filename(name: str) -> str:
    """The last part of a path, without control characters and of bearable length; `model` if nothing is left."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(one for one in last if one.isprintable()).strip().strip(".") if last.strip(". ") else ""
    if len(kept) > 150:
        stem, dot, suffix = kept.rpartition(".")
        kept = stem[: 150 - len(suffix)] + dot + suffix if dot and len(suffix) <= 20 else kept[:150]
    return kept or "model"


def content_disposition(filename: str) -> str:
    """RFC 6266: a quoted ASCII name that can't break out of its quotes, and the true one where that differs (RFC 8187).

    The name of a result comes from a process that is not trusted: it is one plain, bounded name here, too.
    """
    filename = clean_filename(filename)
    plain = re.sub(r"[^A-Za-z0-9 !#$&+,.=@^_`{}~()\[\]-]", "_", filename)
    header = f'attachment; filename="{plain}"'
    if plain != filename:
        header += f"; filename*=UTF-8''{quote(filename, safe='')}"
    return header
