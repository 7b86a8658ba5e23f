"""What others wrote and we send: the files are theirs, to the byte, and the licence lies beside them."""

import hashlib
import json

import pytest

from app.web.assets import STATIC

_VENDOR = STATIC / "vendor"
_PACKAGES = json.loads((_VENDOR / "manifest.json").read_text())["packages"]


@pytest.mark.parametrize("package", _PACKAGES, ids=lambda package: package["name"])
def test_every_file_is_the_one_that_the_manifest_names(package: dict[str, dict[str, str]]) -> None:
    for name, digest in package["files"].items():
        assert hashlib.sha256((_VENDOR / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize("package", _PACKAGES, ids=lambda package: package["name"])
def test_its_licence_is_there(package: dict[str, str]) -> None:
    assert package["license"] == "MIT"
    assert "Permission is hereby granted" in (_VENDOR / package["name"] / "LICENSE").read_text()


def test_no_file_lies_there_that_the_manifest_does_not_name() -> None:
    named = {name for package in _PACKAGES for name in package["files"]}
    there = {path.relative_to(_VENDOR).as_posix() for path in _VENDOR.rglob("*") if path.is_file()}

    assert there == named | {"manifest.json"}
