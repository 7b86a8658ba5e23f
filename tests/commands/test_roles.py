"""`fusebox serve | api | worker` that can't start: a sentence and exit code 2, and no process that tries for ever."""

import os
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parent.parent.parent
_WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from app.__main__ import main; main()"


def _ended(*command: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("FUSEBOX_")}
    return subprocess.run(
        [sys.executable, *command], cwd=_ROOT, env=plain, capture_output=True, text=True, check=False, timeout=20
    )


@pytest.mark.parametrize("role", ["serve", "api"])
def test_a_port_that_is_taken_ends_a_role_with_a_sentence(role: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = _ended("-m", "app", role, "--port", str(port), "--data-dir", str(tmp_path))

    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
    assert ended.stderr.startswith(f"fusebox: the API can't listen on 127.0.0.1, port {port}: Address already in use; ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("role", ["serve", "api"])
def test_a_host_that_nobody_knows_ends_a_role_with_a_sentence(role: str, tmp_path: Path) -> None:
    ended = _ended("-m", "app", role, "--host", "no-such-host.invalid", "--data-dir", str(tmp_path))

    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
    assert ended.stderr.startswith("fusebox: the API can't listen on no-such-host.invalid, port 8000: ")


@pytest.mark.parametrize("role", ["serve", "api", "worker"])
def test_a_data_directory_that_can_not_be_used_ends_every_role(role: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    ended = _ended("-m", "app", role, "--data-dir", str(tmp_path / "file" / "data"))

    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
    assert ended.stderr.endswith("file/data': Not a directory\n")


@pytest.mark.parametrize("arguments", [("serve",), ("worker",), ("fuse", "a.pt", "-o", "b.pt"), ("inspect", "a.pt")])
def test_an_installation_without_torch_says_which_extra_holds_it(arguments: tuple[str, ...]) -> None:
    ended = _ended("-c", _WITHOUT_TORCH, *arguments)

    assert ended.returncode == 2
    assert "extra worker" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("role", ["api", "worker"])
def test_a_database_that_can_not_be_reached_ends_a_role_with_a_sentence(role: str, tmp_path: Path) -> None:
    program = "import os, sys; os.environ['FUSEBOX_DATABASE_URL'] = 'postgresql://u:hunter2@127.0.0.1:9/x'; "
    program += "from app.__main__ import main; main()"

    ended = _ended("-c", program, role, "--data-dir", str(tmp_path))

    assert ended.returncode == 2
    assert "the database can't be used: " in ended.stderr
    assert "hunter2" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_help_tells_the_defaults() -> None:
    shown = _ended("-m", "app", "serve", "--help").stdout

    for default in ("127.0.0.1", "8000", "./data"):
        assert default in shown


@pytest.mark.parametrize(("program", "name"), [("app", "fusebox"), ("fusebox_client", "fusebox-client")])
def test_both_programs_tell_their_version(program: str, name: str) -> None:
    shown = _ended("-m", program, "--version")

    assert (shown.returncode, shown.stdout) == (0, f"{version(name)}\n")
