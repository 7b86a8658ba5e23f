"""The compose files, by compose itself: every combination that README.md names is one, and no service has more rights
than it needs."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings
from tests.deploy.tools import DEPLOY, ROOT, run

_COMBINATIONS = {
    "gpu": ["compose.yaml"],
    "cpu": ["compose.yaml", "compose.cpu.yaml"],
    "fleet": ["compose.fleet.yaml"],
    "fleet, cpu": ["compose.fleet.yaml", "compose.fleet.cpu.yaml"],
}
_SECRETS = {"POSTGRES_PASSWORD": "password", "AWS_SECRET_ACCESS_KEY": "secret"}
# `serve` lets a job go on for FUSEBOX_DRAIN_SECONDS, and its processes end 15 s later at the latest.
_STOP_SECONDS = 15


@cache
def _services(combination: str) -> dict[str, Any]:
    files = [part for file in _COMBINATIONS[combination] for part in ("-f", file)]
    made = run("docker-compose", *files, "--env-file", "/dev/null", "--profile", "*", "config", **_SECRETS)
    assert made.returncode == 0, made.stderr
    assert made.stderr == ""
    return dict(yaml.safe_load(made.stdout)["services"])


def _ours(combination: str) -> dict[str, Any]:
    return {name: service for name, service in _services(combination).items() if "build" in service}


@pytest.mark.parametrize("combination", _COMBINATIONS)
def test_nothing_of_ours_has_more_rights_than_it_needs(combination: str) -> None:
    assert _ours(combination)
    for service in _ours(combination).values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "cap_add" not in service
        assert "privileged" not in service
        assert service["security_opt"] == ["no-new-privileges:true", "seccomp:./seccomp/fusebox.json"]
        assert {mount.partition(":")[0] for mount in service["tmpfs"]} <= {"/tmp", "/data"}
        assert service["restart"] == "unless-stopped"
        assert service["logging"]["options"] == {"max-file": "5", "max-size": "10m"}


@pytest.mark.parametrize(
    ("combination", "gpus"), [("gpu", ["0"]), ("cpu", []), ("fleet", ["0", "1"]), ("fleet, cpu", ["1"])]
)
def test_a_worker_has_a_gpu_of_its_own_and_nobody_else_has_one(combination: str, gpus: list[str]) -> None:
    reserved = [
        (name, device)
        for name, service in _ours(combination).items()
        for device in service["deploy"]["resources"]["reservations"].get("devices", [])
    ]

    assert [device["device_ids"] for _, device in reserved] == [[gpu] for gpu in gpus]
    assert not [name for name, _ in reserved if name == "api"]
    for _, device in reserved:
        assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


@pytest.mark.parametrize(("combination", "accelerator"), [("gpu", "cuda"), ("cpu", "cpu")])
def test_the_image_is_built_for_what_there_is(combination: str, accelerator: str) -> None:
    built = _ours(combination)["fusebox"]["build"]

    assert built["args"] == {"ACCELERATOR": accelerator}
    assert built["context"] == str(ROOT)


@pytest.mark.parametrize("combination", _COMBINATIONS)
def test_there_is_time_to_stop_in_order(combination: str) -> None:
    drain = float(Settings.model_fields["drain_seconds"].default)
    for service in _ours(combination).values():
        assert _seconds(service["stop_grace_period"]) > drain + _STOP_SECONDS


@pytest.mark.parametrize("combination", _COMBINATIONS)
def test_only_this_machine_reaches_the_service_and_nobody_the_rest(combination: str) -> None:
    published = {name: service["ports"] for name, service in _services(combination).items() if service.get("ports")}

    assert len(published) == 1
    [[port]] = published.values()
    assert (port["host_ip"], port["published"], port["target"]) == ("127.0.0.1", "8000", 8000)


def test_a_worker_gets_no_keys() -> None:
    for name in ("worker", "worker1"):
        environment = _ours("fleet")[name]["environment"]
        assert (environment["FUSEBOX_API_KEYS"], environment["FUSEBOX_API_KEYS_FILE"]) == ("", "")


def test_a_fleet_without_passwords_is_refused() -> None:
    refused = run("docker-compose", "-f", "compose.fleet.yaml", "--env-file", "/dev/null", "config")

    assert refused.returncode != 0
    assert "is missing a value: set " in refused.stderr


def test_every_line_of_the_example_of_an_environment_is_a_setting_or_a_variable_of_these_files(tmp_path: Path) -> None:
    written = (DEPLOY / ".env.example").read_text(encoding="utf-8")
    settings = {f"FUSEBOX_{name.upper()}" for name in Settings.model_fields}
    texts = [file.read_text(encoding="utf-8") for file in DEPLOY.glob("compose*.yaml")]
    variables = {name for text in texts for name in re.findall(r"\$\{(\w+)", text)}

    lines = re.findall(r"^#?(\w+)=(.*)$", written, re.MULTILINE)

    assert {name for name, _ in lines} <= settings | variables
    given = {name.removeprefix("FUSEBOX_").lower(): value for name, value in lines if name in settings}
    # What is proposed is valid, or stands in capitals for the reader's own.
    Settings(**{name: value for name, value in given.items() if "USER:PASSWORD" not in value}, _env_file=None)


def test_the_files_are_tidy() -> None:
    found = run("yamllint", "--strict", "-c", ROOT / ".yamllint", *sorted(DEPLOY.glob("*.yaml")))

    assert found.returncode == 0, found.stdout


def _seconds(period: str) -> float:
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)([hms])", period))
