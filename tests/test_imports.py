"""Who may import whom: processes are the trust boundaries, and imports follow them."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parent.parent

# Part of the house -> the parts of the house that it may import. A file belongs to the longest name that fits it.
ALLOWED: dict[str, set[str]] = {
    "app": set(),
    "app.errors": set(),
    "app.options": set(),
    "app.report": set(),
    "app.markdown": {"app.report"},
    "app.settings": set(),
    "app.mistyped": {"app.settings"},
    "app.snippet": {"app.report"},
    "app.storage": {"app.errors"},
    "app.jobs": {"app.errors", "app.options", "app.report", "app.storage"},
    "app.api": {
        *{"app.errors", "app.options", "app.report", "app.markdown", "app.settings", "app.jobs", "app.storage"},
        *{"app.snippet", "app.web"},
    },
    "app.web": {"app.report"},
    # `app` itself: to find where the package lies.
    "app.devices": {"app", "app.errors"},
    "app.sandbox": {"app", "app.devices", "app.errors", "app.options", "app.report", "app.jobs.job"},
    "app.sandbox.child": {
        *{"app.devices.use", "app.errors", "app.options", "app.report", "app.sandbox", "app.engine"},
    },
    "app.worker": {
        *{"app.errors", "app.options", "app.report", "app.settings", "app.jobs", "app.storage"},
        *{"app.sandbox.supervisor", "app.sandbox.wire", "app.sandbox.outcome", "app.sandbox.proof"},
        *{"app.sandbox.limits", "app.sandbox.confine"},
        *{"app.devices.choice", "app.devices.found", "app.devices.looking"},
    },
    "app.commands": {
        *{"app.errors", "app.options", "app.report", "app.settings", "app.mistyped", "app.sandbox.confine"},
        "app.commands.listening",
    },
    "app.commands.api": {"app.settings", "app.api", "app.jobs.keys", "app.commands.listening"},
    "app.commands.heartbeat": {"app.settings", "app.jobs.database", "app.jobs.present", "app.jobs.refused"},
    "app.commands.keys": {"app.settings", "app.jobs"},
    "app.commands.local": {
        *{"app.errors", "app.options", "app.report", "app.settings", "app.engine", "app.devices"},
        *{"app.commands.tables", "app.markdown", "app.snippet"},
    },
    "app.commands.verify_gpu": {
        *{"app.errors", "app.options", "app.report", "app.settings", "app.devices", "app.sandbox"},
    },
    "app.__main__": {"app.errors", "app.settings", "app.mistyped", "app.commands", "app.worker", "app.start"},
    "app.start": {"app.__main__"},
    "app.engine": {"app.errors", "app.options", "app.report"},
    # The evidence stays independent: neither a description nor the numeric reading knows the algebra.
    "app.engine.algebra": set(),
    "app.engine.forward": {"app.errors", "app.engine.ir"},
    "app.engine.interpret.numeric": {"app.errors", "app.engine.ir", "app.engine.forward", "app.engine.interpret.exact"},
    "app.engine.interpret.exact": set(),
}

# Part of the house -> what it may not import from outside.
FORBIDDEN: dict[str, set[str]] = {
    "app.api": {"torch", "numpy"},
    "app.jobs": {"torch", "numpy", "fastapi", "starlette"},
    "app.web": {"torch", "numpy", "fastapi", "starlette", "sqlalchemy", "dbos"},
    "app.storage": {"torch", "numpy", "fastapi", "starlette", "sqlalchemy", "dbos"},
    "app.worker": {"torch", "numpy", "fastapi", "starlette"},
    "app.commands.serve": {"torch", "fastapi"},
    "app.devices": {"fastapi", "starlette", "sqlalchemy", "dbos", "obstore", "pydantic_settings"},
    "app.sandbox": {"fastapi", "starlette", "sqlalchemy", "dbos", "obstore", "pickle"},
    "app.engine": {"fastapi", "starlette", "sqlalchemy", "dbos", "obstore", "pydantic_settings", "httpx"},
}


def _files() -> list[Path]:
    return sorted((_ROOT / "app").rglob("*.py"))


def _module(path: Path) -> str:
    parts = path.relative_to(_ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> Iterator[str]:
    """Every module that a file names in an import, also within functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            for alias in node.names:
                # `from app.jobs import table` names a module, `from app.jobs.table import jobs` does not.
                inner = f"{node.module}.{alias.name}"
                yield inner if _exists(inner) else str(node.module)


def _exists(module: str) -> bool:
    path = _ROOT.joinpath(*module.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def _within(module: str, part: str) -> bool:
    return module == part or module.startswith(f"{part}.")


def _part(module: str, table: dict[str, set[str]]) -> str | None:
    fitting = (part for part in table if module == part or (_within(module, part) and part != "app"))
    return max(fitting, key=len, default=None)


@pytest.mark.parametrize("path", _files(), ids=_module)
def test_a_file_imports_only_what_its_part_of_the_house_may(path: Path) -> None:
    part = _part(_module(path), ALLOWED)
    assert part is not None, f"{path} lies in a part of the house that this table does not know"
    own = {"app"} if part == "app.__main__" else {part}

    for imported in _imports(path):
        if not _within(imported, "app") or any(_within(imported, one) for one in own - {"app"}):
            continue
        allowed = any(imported == one if one == "app" else _within(imported, one) for one in ALLOWED[part])
        assert allowed, f"{_module(path)} imports {imported}, which is not for {part}"


@pytest.mark.parametrize("path", _files(), ids=_module)
def test_a_file_imports_no_library_that_is_not_for_its_part(path: Path) -> None:
    for part, forbidden in FORBIDDEN.items():
        if _within(_module(path), part) and not (part == "app.sandbox" and _module(path) == "app.sandbox.child"):
            taken = {imported.split(".")[0] for imported in _imports(path)} & forbidden
            assert not taken, f"{_module(path)} imports {taken}"


def test_only_the_child_and_the_command_line_import_the_engine() -> None:
    importers = {
        _module(path)
        for path in _files()
        if not _within(_module(path), "app.engine") and any(_within(one, "app.engine") for one in _imports(path))
    }

    assert importers == {"app.sandbox.child", "app.commands.local"}


@pytest.mark.parametrize("path", _files(), ids=_module)
def test_no_file_loads_a_pickle_or_evaluates_text(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            loads = {"pickle": {"load", "loads", "Unpickler"}, "torch": {"load"}, "jit": {"load"}, "export": {"load"}}
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            assert node.attr not in loads.get(owner, set()), f"{_module(path)} calls {owner}.{node.attr}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"eval", "exec", "compile", "__import__"}, f"{_module(path)}: {node.func.id}"
        elif isinstance(node, ast.ImportFrom) and node.module == "pickle":
            assert not {alias.name for alias in node.names} & {"load", "loads", "Unpickler"}, _module(path)


@pytest.mark.parametrize(
    "module", ["app.api.main", "app.commands.api", "app.commands.serve", "app.worker.main", "app.__main__"]
)
def test_a_process_that_faces_network_or_queue_starts_without_torch(module: str) -> None:
    program = f"import sys, {module}; print(sorted({{'torch', 'numpy', 'app.engine'}} & set(sys.modules)))"

    printed = subprocess.run([sys.executable, "-c", program], cwd=_ROOT, capture_output=True, text=True, check=True)

    assert printed.stdout.strip() == "[]"


def test_the_warm_parent_loads_neither_queue_nor_web_nor_storage() -> None:
    program = (
        "import sys, app.sandbox.forge; print(sorted({'dbos', 'sqlalchemy', 'fastapi', 'obstore'} & set(sys.modules)))"
    )

    printed = subprocess.run([sys.executable, "-c", program], cwd=_ROOT, capture_output=True, text=True, check=True)

    assert printed.stdout.strip() == "[]"
