"""The Dockerfile, by hadolint, and that compose files and chart speak of the same images."""

import re

import yaml

from tests.deploy.tools import DEPLOY, ROOT, render, run

_DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_hadolint_finds_nothing_to_complain_of() -> None:
    found = run("hadolint", ROOT / "Dockerfile")

    assert (found.returncode, found.stdout) == (0, ""), found.stdout


def test_compose_files_build_what_there_is() -> None:
    stages = set(re.findall(r"^FROM .* AS (\S+)$", _DOCKERFILE, re.MULTILINE))
    texts = [file.read_text(encoding="utf-8") for file in DEPLOY.glob("compose*.yaml")]

    targets = {target for text in texts for target in re.findall(r"^ +target: (\w+)$", text, re.MULTILINE)}

    assert targets == {"api", "worker"}
    assert targets <= stages


def test_pods_run_as_the_user_that_the_image_has() -> None:
    [user] = set(re.findall(r"^USER (\S+)$", _DOCKERFILE, re.MULTILINE))
    [pod] = [one["spec"]["template"]["spec"] for one in render() if one["kind"] == "StatefulSet"]

    assert f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" == user


def test_the_images_of_the_chart_are_of_the_version_that_the_chart_is_for() -> None:
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    chart = yaml.safe_load((DEPLOY / "helm/fusebox/Chart.yaml").read_text(encoding="utf-8"))

    assert project is not None
    assert chart["appVersion"] == project[1]
