"""No dependency is older than the version in which its known holes were closed."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

_ROOT = Path(__file__).resolve().parent.parent

# What faces uploads, requests and files, and the first version without the hole that is named.
FLOORS = {
    "h11": "0.16.0",  # chunked bodies read leniently: request smuggling
    "jinja2": "3.1.6",  # sandbox breakout
    "onnx": "1.17.0",  # external data outside of the model's directory
    "pillow": "11.3.0",  # heap overflow in a writer
    "protobuf": "6.31.1",  # unbounded recursion in the pure Python parser
    "python-multipart": "0.0.30",  # quadratic and lenient header parsing
    "requests": "2.32.4",  # credentials sent to another host
    "setuptools": "78.1.1",  # path traversal
    "starlette": "1.3.1",  # quadratic Range header (0.49.1), and what came after
    "torch": "2.6.0",  # code from weights_only=True
    "urllib3": "2.6.0",  # bombs in compressed answers
    "werkzeug": "3.1.4",  # device names as paths
}
# What the API rests on is bounded in pyproject.toml, too: others install without the locks.
_DIRECT = {"h11", "python-multipart", "starlette"}


def _pins(path: Path) -> dict[str, Version]:
    lines = [line.partition("#")[0].rstrip("\\ \t").strip() for line in path.read_text(encoding="utf-8").splitlines()]
    pins = [Requirement(line) for line in lines if line and not line.startswith("-")]
    return {canonicalize_name(one.name): Version(str(one.specifier).removeprefix("==")) for one in pins}


@pytest.mark.parametrize("path", sorted((_ROOT / "requirements").glob("*.txt")), ids=lambda path: path.name)
def test_every_lock_is_above_the_floors(path: Path) -> None:
    pins = _pins(path)

    assert pins
    for name, version in pins.items():
        assert version >= Version(FLOORS.get(name, "0")), f"{name} {version} in {path.name}"


def test_every_floor_is_of_something_that_is_used() -> None:
    used = {name for path in (_ROOT / "requirements").glob("*.txt") for name in _pins(path)}

    assert set(FLOORS) <= used
    assert set(_pins(_ROOT / "requirements/api.txt")) >= _DIRECT


@pytest.mark.parametrize("name", sorted(_DIRECT))
def test_what_the_api_rests_on_is_bounded_without_a_lock_too(name: str) -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {canonicalize_name(one.name): one for one in map(Requirement, project["dependencies"])}

    below = Version(FLOORS[name])
    older = f"{below.major}.{below.minor}.{below.micro - 1}" if below.micro else f"{below.major}.{below.minor - 1}.99"

    assert FLOORS[name] in declared[name].specifier
    assert older not in declared[name].specifier
