"""The chart, by helm and by Kubernetes' own schemas: what operators may ask for becomes what was meant, and what they
may not is refused."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings
from tests.deploy.tools import CHART, DEPLOY, render, run

_SPLIT = "mode=split,database.existingSecret=database,store.url=s3://models"
_VALUES = {
    "as it comes": [],
    "without a GPU": ["--set", "gpu.enabled=false,persistence.storageClass=fast,auth.disabled=true"],
    "a claim and a profile of theirs": [
        "--set",
        "persistence.existingClaim=mine,seccomp.type=Localhost,userNamespaces=true,gpu.runtimeClassName=nvidia",
    ],
    "split": ["--set", _SPLIT],
    "split, with everything": [
        "--set",
        f"{_SPLIT},store.existingSecret=store,auth.existingSecret=keys,ingress.enabled=true,ingress.tlsSecret=tls,"
        "ingress.className=nginx,worker.replicas=4,imagePullSecrets[0].name=pull,gpu.resource=nvidia.com/mig-1g.10gb,"
        "settings.ALLOWED_HOSTS=fusebox.example.org\\,other.example.org,settings.TRUSTED_PROXIES=10.0.0.0/8,"
        "networkPolicy.from[0].namespaceSelector.matchLabels.name=ingress,serviceAccount.create=false",
    ],
}
# Settings that have a place of their own among the values.
_ELSEWHERE = {
    *("HOST", "PORT", "DATA_DIR", "DATABASE_URL", "BLOB_URL", "API_KEYS", "API_KEYS_FILE", "AUTH", "DRAIN_SECONDS"),
}


def test_helm_finds_nothing_to_complain_of() -> None:
    for values in _VALUES.values():
        found = run("helm", "lint", "--strict", CHART, *values)
        assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("values", _VALUES.values(), ids=_VALUES)
def test_the_manifests_are_what_kubernetes_expects(values: list[str], tmp_path: Path) -> None:
    manifests = tmp_path / "manifests.yaml"
    manifests.write_text(yaml.safe_dump_all(render(*values)), encoding="utf-8")

    found = run("kubernetes-validate", "--strict", "--quiet", manifests)

    assert (found.returncode, found.stdout) == (0, ""), found.stdout


@pytest.mark.parametrize("values", _VALUES.values(), ids=_VALUES)
def test_pods_are_allowed_in_a_restricted_namespace(values: list[str]) -> None:
    """Pod Security Standards, level `restricted`, and more."""
    pods = _pods(render(*values))
    assert pods
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False
        rights = pod["securityContext"]
        assert (rights["runAsNonRoot"], rights["runAsUser"], rights["fsGroup"]) == (True, 10001, 10001)
        assert rights["seccompProfile"]["type"] in ("RuntimeDefault", "Localhost")
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} <= {
            *("emptyDir", "secret", "persistentVolumeClaim")
        }
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


@pytest.mark.parametrize("values", _VALUES.values(), ids=_VALUES)
def test_the_name_of_a_service_becomes_no_setting(values: list[str]) -> None:
    # For a Service called fusebox, Kubernetes sets FUSEBOX_PORT=tcp://10.0.0.1:80 in every pod of the namespace.
    assert {pod["enableServiceLinks"] for pod in _pods(render(*values))} == {False}


@pytest.mark.parametrize("values", _VALUES.values(), ids=_VALUES)
def test_every_selector_finds_pods_and_every_reference_its_object(values: list[str]) -> None:
    found = render(*values)
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in found if "template" in one.get("spec", {})]
    selectors = [one["spec"]["selector"] for one in found if one["kind"] == "Service"]
    selectors += [
        one["spec"].get("selector", one["spec"].get("podSelector"))["matchLabels"]
        for one in found
        if one["kind"] in ("NetworkPolicy", "PodDisruptionBudget")
    ]
    for selector in selectors:
        assert len([pod for pod in labels if selector.items() <= pod.items()]) == 1
    [settings] = [one["metadata"]["name"] for one in found if one["kind"] == "ConfigMap"]
    for container in _containers(found):
        assert settings in [source.get("configMapRef", {}).get("name") for source in container["envFrom"]]


def test_one_pod_keeps_everything_on_a_volume_and_goes_nowhere() -> None:
    found = render()
    [pod], [container] = _pods(found), _containers(found)

    assert container["args"] == ["serve"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["startupProbe"]["httpGet"]["path"] == "/readyz"
    assert {container[probe]["httpGet"]["path"] for probe in ("readinessProbe", "livenessProbe")} == {"/livez"}
    [policy] = [one["spec"] for one in found if one["kind"] == "NetworkPolicy"]
    assert (policy["egress"], policy["policyTypes"]) == ([], ["Ingress", "Egress"])
    # The drain of its job, and the 15 s that `serve` gives its processes.
    assert pod["terminationGracePeriodSeconds"] > 60 + 15


def test_api_and_workers_are_apart_and_only_the_api_has_keys_and_visitors() -> None:
    found = render(*_VALUES["split, with everything"])
    api, worker = sorted(_containers(found), key=lambda one: str(one["name"]))

    assert (api["args"], worker["args"]) == (["api"], ["worker"])
    assert (api["image"], worker["image"]) == ("fusebox-api:0.1.0", "fusebox-worker:0.1.0")
    assert worker["resources"]["limits"]["nvidia.com/mig-1g.10gb"] == 1
    assert "nvidia.com/mig-1g.10gb" not in api["resources"]["limits"]
    names = {name: {one["name"] for one in container["env"]} for name, container in (("api", api), ("w", worker))}
    assert names == {"api": {"FUSEBOX_DATABASE_URL", "FUSEBOX_API_KEYS_FILE"}, "w": {"FUSEBOX_DATABASE_URL"}}
    assert worker["livenessProbe"]["exec"]["command"] == ["fusebox", "health", "worker"]
    # Else the service would answer 421.
    assert api["livenessProbe"]["httpGet"]["httpHeaders"] == [{"name": "Host", "value": "fusebox.example.org"}]
    policies = {one["metadata"]["name"]: one["spec"] for one in found if one["kind"] == "NetworkPolicy"}
    assert policies["fusebox-worker"]["ingress"] == []
    [rule] = policies["fusebox"]["ingress"]
    assert (rule["ports"][0]["port"], len(rule["from"])) == (8000, 1)


def test_settings_arrive_as_they_were_meant(tmp_path: Path) -> None:
    # YAML reads `off` as a truth value, and helm every number as a float.
    values = tmp_path / "values.yaml"
    values.write_text("settings: {SANDBOX: off, RETENTION: 90.5, MAX_UPLOAD_BYTES: 4294967296, MAX_STORED_BYTES: 1T}")
    [settings] = [one["data"] for one in render("-f", values) if one["kind"] == "ConfigMap"]
    given = {name.removeprefix("FUSEBOX_").lower(): value for name, value in settings.items()}

    read = Settings(**given)

    assert (read.sandbox, read.retention, read.drain_seconds) == ("off", 90.5, 60)
    assert (read.max_upload_bytes, read.max_stored_bytes) == (4 << 30, 1 << 40)
    assert (read.host, read.port) == ("0.0.0.0", 8000)


def test_every_setting_may_be_given_by_its_name() -> None:
    schema = yaml.safe_load((CHART / "values.schema.json").read_text(encoding="utf-8"))

    names = set(schema["properties"]["settings"]["propertyNames"]["enum"])

    assert names == {name.upper() for name in Settings.model_fields} - _ELSEWHERE


@pytest.mark.parametrize(
    "wrong",
    [
        "mode=cluster",
        "mode=split",
        "mode=split,database.existingSecret=database",
        f"{_SPLIT},store.url=file:///srv",
        "settings.MAX_UPLOAD=1",
        "settings.MAX_UPLOADS=true",
        "gpu.count=2",
        "gpu.resource=gpu",
        "drainSeconds=0",
        "persistence.size=much",
        "worker.replicas=-1",
        "image.digest=latest",
        "ingress.host=https://fusebox.example.org",
        "ingress.host=Fusebox.example.org",
        "image.repository=registry.example.org/fusebox:0.1.0",
        "image.tag=two words",
        "resources.limits.memory=lots",
        "auth.disabled=true,auth.existingSecret=keys",
        "replicas=3",
    ],
)
def test_values_that_can_not_be_meant_are_refused(wrong: str) -> None:
    refused = run("helm", "template", "fusebox", CHART, "--set", wrong)

    assert refused.returncode != 0
    assert "don't meet the specifications of the schema" in refused.stderr


@pytest.mark.parametrize("release", ["a.b", "1st", "a" * 53, "a" * 49 + "-bcd"])
def test_any_name_of_a_release_becomes_one_that_services_and_pods_may_have(release: str) -> None:
    """A Service's is a label of DNS; a StatefulSet's leaves room for the 11 characters that its pods' labels add."""
    rendered = run("helm", "template", release, CHART, "--set", _SPLIT)
    manifests = [one for one in yaml.safe_load_all(rendered.stdout) if one]

    assert manifests, rendered.stderr
    for one in manifests:
        room = 52 if one["kind"] == "StatefulSet" else 63
        assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", one["metadata"]["name"]), one["metadata"]["name"]
        assert len(one["metadata"]["name"]) <= room


@pytest.mark.parametrize("values", _VALUES.values(), ids=_VALUES)
def test_the_notes_say_how_to_get_in(values: list[str]) -> None:
    said = run("helm", "install", "--dry-run=client", "fusebox", CHART, *values).stdout.partition("NOTES:")[2]

    assert "/fuse" in said
    assert ("no API key" in said) == ("disabled" not in str(values) and "keys" not in str(values))


def test_the_profile_has_the_name_that_the_values_say() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))

    assert (DEPLOY / "seccomp" / values["seccomp"]["localhostProfile"]).is_file()


def test_the_values_are_tidy() -> None:
    found = run("yamllint", "--strict", "-c", DEPLOY.parent / ".yamllint", CHART / "values.yaml", CHART / "Chart.yaml")

    assert found.returncode == 0, found.stdout


def _pods(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one["spec"]["template"]["spec"] for one in found if "template" in one.get("spec", {})]


def _containers(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [container for pod in _pods(found) for container in pod["containers"]]
