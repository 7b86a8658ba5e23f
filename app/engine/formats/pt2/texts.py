"""Texts of an exported program that torch turns into Python when it loads it: names, guards and tree specifications.

A program is handed back to a loader that executes what it finds here, so nothing is let through but what the exporter
writes itself.
"""

import json
import re
from typing import Any, Final

from app.engine.formats.pt2 import json_text as js
from app.errors import MalformedFile, UnsupportedContent

_PATH: Final = re.compile(r"[\w.:/+@ -]+", re.ASCII)
# What may be the target of a node: operators, and functions of numbers. All else could be any Python object.
_OPERATOR: Final = re.compile(r"torch\.ops(\.[A-Za-z_]\w*){2,4}", re.ASCII)
_MARKED: Final = re.compile(r"#[A-Za-z_]\w*:[\w.]+", re.ASCII)
_NUMERIC: Final = re.compile(
    r"_operator\.(eq|ne|le|ge|lt|gt|neg|pos|mul|add|sub|floordiv|mod|pow|truediv|and_|or_|lshift|rshift|getitem)"
    r"|math\.trunc|torch\.sym_(not|int|float|ite|max|min|sqrt)|torch\._sym_sqrt"
)
_ATEN_DUNDER: Final = re.compile(r"__i?(and|or|xor|lshift|rshift)__")
_GUARD: Final = re.compile(
    r"(?>\s|[\[\]()%*+\-/<>=!,&|^]|\d+(?:\.\d+)?|'[\w ]*'|\"[\w ]*\"|\.(?:size|stride|storage_offset|dim|shape)\b"
    r"|\b(?:L|args|kwargs|and|or|not|if|else|is|True|False|None|Eq|Ne|Max|Min|max|min|abs|round|Mod|FloorDiv|PythonMod"
    r"|float|int|torch\._?sym_(?:not|int|float|ite|max|min|sqrt|sum)|math\.(?:floor|ceil|trunc|isnan|log2|sqrt|inf|nan))"
    r"\b)++",
    re.ASCII,
)
_LONGEST_GUARD: Final = 1 << 14
_AGAIN: Final = "torch.export.load would run it as Python. Export the model again with torch.export.save."


def identifier(value: Any, where: str) -> str:
    """A name of the graph: torch writes it into source code."""
    found = js.name(value, where)
    if not (found.isascii() and found.isidentifier()):
        raise MalformedFile(f"the exported program is damaged: {found[:100]!r} is not a name")
    return found


def path(value: Any, where: str) -> str:
    """The path of a parameter, buffer or constant."""
    found = js.name(value, where)
    if not _PATH.fullmatch(found):
        raise MalformedFile(f"the exported program is damaged: {found[:100]!r} is not the path of a tensor")
    return found


def target(value: Any, where: str) -> str:
    """The operator of a node. Raises UnsupportedContent for a Python function of any other kind."""
    found = js.name(value, where)
    if _NUMERIC.fullmatch(found) or _MARKED.fullmatch(found):
        return found
    if _OPERATOR.fullmatch(found) and all(_plain(part) for part in found.split(".")):
        return found
    raise UnsupportedContent(
        f"a node of the program calls {found[:100]!r}, which is not an operator", remedy=_AGAIN, names=[found[:100]]
    )


def _plain(part: str) -> bool:
    return "__" not in part.strip("_") and (not part.startswith("__") or bool(_ATEN_DUNDER.fullmatch(part)))


def check_guards(value: Any) -> None:
    """`guards_code` is a list of conditions on input sizes."""
    for guard in js.items(value, "guards_code"):
        condition = js.text(guard, "guards_code")
        if len(condition) > _LONGEST_GUARD or not _GUARD.fullmatch(condition):
            raise UnsupportedContent(f"the guard {condition[:100]!r} is not a condition on sizes", remedy=_AGAIN)


def check_tree(value: Any, where: str) -> None:
    """A tree specification: nested JSON, in which an enum would be imported and keyword names become source code."""
    tree = _parsed(js.text(value, where), where)
    if not isinstance(tree, list) or len(tree) != 2:
        raise js.fault(where, "is not a tree specification")
    _check_contexts(tree[1], where)
    keywords = _child(tree[1], 1)
    for key in _context(keywords, where) if keywords.get("type") == "builtins.dict" else ():
        identifier(key, where)


def _parsed(written: str, where: str) -> Any:
    try:
        return json.loads(written)
    except (ValueError, RecursionError):
        raise js.fault(where, "is not JSON") from None


def _child(tree: Any, index: int) -> js.Table:
    children = tree.get("children_spec", []) if isinstance(tree, dict) else []
    return children[index] if isinstance(children, list) and len(children) > index else {}


def _context(tree: js.Table, where: str) -> Any:
    written = tree.get("context")
    return _parsed(written, where) if isinstance(written, str) else written or []


def _check_contexts(root: Any, where: str) -> None:
    stack = [root]
    while stack:
        part = stack.pop()
        if isinstance(part, dict):
            if "__enum__" in part:
                raise UnsupportedContent(
                    f"the inputs or outputs of the program have the enum {str(part.get('fqn'))[:100]!r} as a key",
                    remedy="torch.export.load would import its module. Use texts as keys.",
                )
            written = part.get("context")
            stack.extend(part.values())
            if isinstance(written, str) and written.lstrip()[:1] in ("[", "{"):
                stack.append(_context(part, where))
        elif isinstance(part, list):
            stack.extend(part)
