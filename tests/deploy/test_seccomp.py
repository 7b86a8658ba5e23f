"""The profile for container run times lets through what the service does, and the child's own filter on top of it."""

import json
import platform
from typing import Any

import pytest

from app.sandbox.calls import child_filter
from app.sandbox.kernel.bpf import ALLOW, KILL
from app.sandbox.kernel.numbers import ARCHITECTURES
from tests.deploy.tools import DEPLOY

_PROFILE: dict[str, Any] = json.loads((DEPLOY / "seccomp/fusebox.json").read_text(encoding="utf-8"))
_RULES: list[dict[str, Any]] = _PROFILE["syscalls"]
_ALLOWED = {name for rule in _RULES if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
# Namespaces: CLONE_NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWNS (include/uapi/linux/sched.h).
_NAMESPACES = 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000 | 0x00020000
_ENOSYS = 38


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_whatever_the_child_may_do_its_container_may_do(machine: str) -> None:
    architecture = ARCHITECTURES[machine]
    names = {number: name for name, number in architecture.calls.items()}
    child = child_filter(architecture, 1, cuda=True)
    allowed = {names[number] for number, answer in child.answers.items() if answer == ALLOW}

    assert allowed | {names[number] for number in child.conditions} <= _ALLOWED


def test_the_child_may_confine_itself() -> None:
    calls = {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp", "prctl", "capset"}

    assert calls <= _ALLOWED


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_what_kills_a_child_is_refused_to_all_but_for_confining_itself(machine: str) -> None:
    architecture = ARCHITECTURES[machine]
    names = {number: name for name, number in architecture.calls.items()}
    killed = {names[one] for one, answer in child_filter(architecture, 1, cuda=True).answers.items() if answer == KILL}

    assert killed & _ALLOWED == {"seccomp"}


def test_nobody_makes_a_namespace_or_a_socket_of_a_rare_kind() -> None:
    [clone] = [rule for rule in _RULES if rule["names"] == ["clone"]]
    families = [rule["args"] for rule in _RULES if rule["names"] == ["socket"]]

    assert clone["args"] == [{"index": 0, "value": _NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
    assert [[(one["index"], one["op"], one["value"]) for one in args] for args in families] == [
        [(0, "SCMP_CMP_EQ", family)] for family in (1, 2, 10, 16)
    ]
    assert {"unshare", "setns"} & _ALLOWED == set()


def test_calls_that_are_not_known_do_not_exist_so_that_libraries_use_older_ones() -> None:
    [clone3] = [rule for rule in _RULES if rule["names"] == ["clone3"]]

    assert (_PROFILE["defaultAction"], _PROFILE["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", _ENOSYS)
    assert (clone3["action"], clone3["errnoRet"]) == ("SCMP_ACT_ERRNO", _ENOSYS)


def test_the_profile_is_for_the_machines_that_the_sandbox_knows() -> None:
    names = {"SCMP_ARCH_X86_64": "x86_64", "SCMP_ARCH_AARCH64": "aarch64"}

    assert {names[one] for one in _PROFILE["architectures"]} == set(ARCHITECTURES)
    assert platform.machine() in ARCHITECTURES
