"""Which files a child may touch, as rules: the kernel is asked in test_confine.py."""

import sys
from pathlib import Path

import numpy
import pytest

import app
from app.sandbox.kernel.landlock import IOCTL_DEV, WRITE_FILE, file_rights
from app.sandbox.reach import cuda_rules, rules

_ROOT = Path(app.__file__).resolve().parent.parent


def _granted(path: Path, cuda: bool = False) -> int:
    granted = 0
    for rule in rules([Path("/job/input")], Path("/job/work"), cuda=cuda):
        if path.resolve().is_relative_to(rule.path.resolve()):
            granted |= rule.rights
    return granted


@pytest.mark.parametrize("path", [numpy.__file__, app.__file__, sys.modules["json"].__file__, "/job/input"])
def test_code_and_input_can_be_read_and_not_written(path: str) -> None:
    assert _granted(Path(path))
    assert not _granted(Path(path)) & WRITE_FILE


@pytest.mark.parametrize("path", ["/etc/passwd", "/home", "/root/.ssh/id_rsa", "/proc/1/environ", "/job", "/dev/sda"])
def test_nothing_else_is_granted(path: str) -> None:
    assert _granted(Path(path)) == 0


@pytest.mark.parametrize("name", ["data/fusebox.sqlite", "data/blobs/a/input", ".git/config", "tests"])
def test_of_a_checkout_only_the_package_is_granted(name: str) -> None:
    assert _granted(_ROOT / name) == 0


def test_only_the_directory_of_the_job_can_be_written() -> None:
    written = {
        str(rule.path)
        for rule in rules([Path("/job/input")], Path("/job/work"), cuda=False)
        if rule.rights & WRITE_FILE
    }

    assert written == {"/job/work", "/dev/null"}


def test_cuda_gets_the_devices_of_its_driver_and_no_others(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "sda", "tty"):
        (tmp_path / name).touch()
    (tmp_path / "nvidia-caps").mkdir()

    found = {rule.path.name for rule in cuda_rules(tmp_path) if rule.rights & IOCTL_DEV}

    assert found == {"nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-caps"}


def test_each_version_of_landlock_is_asked_for_the_rights_that_it_knows() -> None:
    # include/uapi/linux/landlock.h: 13 rights, then REFER, TRUNCATE and IOCTL_DEV.
    assert [file_rights(abi) for abi in (1, 2, 3, 4, 5, 6, 7)] == [
        *(0x1FFF, 0x3FFF, 0x7FFF, 0x7FFF),
        *(0xFFFF, 0xFFFF, 0xFFFF),
    ]
