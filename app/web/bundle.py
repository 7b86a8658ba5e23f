"""ES modules as one script, for a page that has nothing to import from: each is a function that returns its exports.

Only what our own modules do is understood: named imports from relative addresses at the beginning, `export` before a
declaration.
"""

import posixpath
import re

from app.web.assets import text

_IMPORT = re.compile(r'^import \{([^}]*)\} from "(\.[^"]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?function\*? (\w+)|class (\w+)|const (\w+))", re.MULTILINE)


def modules_of(entry: str) -> list[str]:
    """A module and all that it needs, each behind what it imports itself."""
    found: list[str] = []

    def visit(name: str) -> None:
        for needed in _imports(name):
            visit(needed)
        if name not in found:
            found.append(name)

    visit(entry)
    return found


def bundle(entry: str) -> str:
    """One script that does what loading the module would do."""
    return '"use strict";\nconst modules = {};\n' + "".join(_wrapped(name) for name in modules_of(entry))


def _imports(name: str) -> list[str]:
    return [_resolve(name, matched[2]) for matched in _IMPORT.finditer(text(name))]


def _resolve(name: str, address: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), address))


def _wrapped(name: str) -> str:
    source = text(name)
    exports = [next(filter(None, matched.groups())) for matched in _EXPORT.finditer(source)]
    body = _IMPORT.sub(lambda matched: f'const {{{matched[1]}}} = modules["{_resolve(name, matched[2])}"];\n', source)
    body = _EXPORT.sub("", body)
    return f'modules["{name}"] = (() => {{\n{body}\nreturn {{ {", ".join(exports)} }};\n}})();\n'
