"""The client's own README: what it shows runs, what it names is there."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import fusebox_client
from fusebox_client.cli.exits import Exit
from fusebox_client.cli.main import build
from tests.e2e.conftest import Server

_ROOT = Path(__file__).parents[2]
_README = (_ROOT / "client" / "README.md").read_text()
_TEXTS = ["client/README.md", "docs/examples/github-actions.yml", "docs/examples/dvc.yaml"]
_USE = r"fusebox-client (submit|status|wait|download|report|list|cancel)([^;`|#]*)"


def test_the_python_that_it_shows_runs(service: Server, small: Path, tmp_path: Path) -> None:
    line, methods, asynchronous = re.findall(r"```python\n(.*?)```", _README, re.DOTALL)
    (tmp_path / "m.pt").write_bytes(small.read_bytes())
    (tmp_path / "fused").mkdir()
    with_await = "".join(f"    {one}\n" for one in asynchronous.splitlines())
    program = f"url, key, paths = {service.url!r}, None, ['m.pt', 'm.pt']\n{line}{methods}"
    program += f"import asyncio\nasync def main():\n{with_await}\nasyncio.run(main())\n"

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program.replace("https://fuse.example.org", service.url)],
        cwd=tmp_path,
        env=os.environ | {"FUSEBOX_URL": service.url},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    assert sorted(one.name for one in tmp_path.iterdir()) == ["fused", "m.fused.pt", "m.pt", "m.zip"]
    assert [one.name for one in (tmp_path / "fused").iterdir()] == ["m.fused.pt"]


def _flags() -> dict[str, set[str]]:
    """Every command with its flags."""
    commands = get_command(build()).commands  # type: ignore[attr-defined]  # it is a group
    return {name: {flag for one in command.params for flag in one.opts} for name, command in commands.items()}


@pytest.mark.parametrize("name", _TEXTS)
def test_every_command_and_flag_that_a_text_uses_exists(name: str) -> None:
    flags = _flags()
    text = (_ROOT / name).read_text()
    lines = re.sub(r"\\\n\s*|\n\s+(?=--)", " ", text).splitlines()

    uses = [use for line in lines for use in re.findall(_USE, line)]
    assert uses
    for command, rest in uses:
        unknown = set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", rest)) - flags[command]
        assert not unknown, f"{command} {unknown}"


def test_every_exit_code_gate_and_exception_is_told() -> None:
    exported = [getattr(fusebox_client, name) for name in fusebox_client.__all__]
    errors = [one.__name__ for one in exported if inspect.isclass(one) and issubclass(one, Exception)]
    gates = [flag for flag in _flags()["submit"] if flag.startswith("--require-")]

    codes = set(re.findall(r"^\| (\d+) \|", _README, re.MULTILINE))
    assert codes == {str(int(code)) for code in Exit}
    for name in [*gates, *errors]:
        if name not in ("ProblemError", "JobError"):
            assert f"`{name}" in _README, name
    assert len(gates) == 5
