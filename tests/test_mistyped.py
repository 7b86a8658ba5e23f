"""Names of variables that are nearly those of settings."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.mistyped import check_names, unknown_names
from app.settings import InvalidSettings, Settings, as_environment, read_settings

_ROOT = Path(__file__).resolve().parent.parent

# As the kubelet gives them to every pod beside a service `fusebox` with a named port, and another `fusebox-api`.
_OF_KUBERNETES = {
    "FUSEBOX_SERVICE_HOST": "10.0.0.1",
    "FUSEBOX_SERVICE_PORT": "8000",
    "FUSEBOX_SERVICE_PORT_HTTP": "8000",
    "FUSEBOX_PORT": "tcp://10.0.0.1:8000",
    "FUSEBOX_PORT_8000_TCP": "tcp://10.0.0.1:8000",
    "FUSEBOX_PORT_8000_TCP_PROTO": "tcp",
    "FUSEBOX_PORT_8000_TCP_PORT": "8000",
    "FUSEBOX_PORT_8000_TCP_ADDR": "10.0.0.1",
    "FUSEBOX_API_SERVICE_HOST": "10.0.0.2",
    "FUSEBOX_API_PORT": "tcp://10.0.0.2:8000",
    "FUSEBOX_API_PORT_8000_TCP_ADDR": "10.0.0.2",
}


def _ended(*command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    plain = {name: value for name, value in os.environ.items() if not name.startswith("FUSEBOX_")}
    return subprocess.run(
        [sys.executable, "-m", "app", *command],
        cwd=_ROOT,
        env=plain | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_setting_and_what_clients_read_is_known() -> None:
    known = {**as_environment(Settings()), "FUSEBOX_URL": "http://h", "FUSEBOX_KEY": "k", "fusebox_auth": "off"}

    assert unknown_names(known | {"PATH": "/bin", "FUSEBOXES": "2", "MY_FUSEBOX_AUTH": "off"}) == []


def test_what_kubernetes_tells_of_a_service_of_this_name_is_neither_a_setting_nor_a_typo(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert check_names(_OF_KUBERNETES) == []

    monkeypatch.setenv("FUSEBOX_PORT", _OF_KUBERNETES["FUSEBOX_PORT"])
    assert read_settings().port == 8000
    assert read_settings(port=9000).port == 9000


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("FUSEBOX_ATUH", "AUTH"),
        ("FUSEBOX-AUTH", "AUTH"),
        ("FUSEBOX_API_KEY", "API_KEYS"),
        ("FUSEBOX_API_KEY_FILE", "API_KEYS_FILE"),
        ("FUSEBOX_SANDBX", "SANDBOX"),
        ("FUSEBOX_TRUSTED_PROXY", "TRUSTED_PROXIES"),
        ("FUSEBOX_ALLOWED_HOST", "ALLOWED_HOSTS"),
        ("FUSEBOX_HSOT", "HOST"),
    ],
)
def test_a_typo_in_what_guards_the_service_is_refused_without_its_value(name: str, meant: str) -> None:
    with pytest.raises(InvalidSettings, match=f"{name} is no setting; FUSEBOX_{meant} is one") as raised:
        check_names({name: "hunter2"})

    assert "hunter2" not in str(raised.value)


def test_other_unknown_names_are_told_with_the_nearest_setting_where_there_is_one() -> None:
    told = check_names({"FUSEBOX_RETENTON": "1h", "FUSEBOX_MAX_UPLOAD_BYTE": "1G", "FUSEBOX_WHATEVER": "hunter2"})

    assert told == [
        "FUSEBOX_MAX_UPLOAD_BYTE is no setting, and is ignored; FUSEBOX_MAX_UPLOAD_BYTES is one",
        "FUSEBOX_RETENTON is no setting, and is ignored; FUSEBOX_RETENTION is one",
        "FUSEBOX_WHATEVER is no setting, and is ignored",
    ]


@pytest.mark.parametrize(
    "command", ["serve", "api", "worker", "health", "keys list", "fuse a.pt -o b.pt", "verify-gpu"]
)
def test_every_command_that_reads_settings_refuses_a_typo_in_what_guards_the_service(
    command: str, tmp_path: Path
) -> None:
    ended = _ended(*command.split(), FUSEBOX_ATUH="off", FUSEBOX_DATA_DIR=str(tmp_path / "data"))

    assert ended.returncode == 2
    assert ended.stderr.startswith("fusebox: FUSEBOX_ATUH is no setting; FUSEBOX_AUTH is one")
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_a_command_goes_on_after_a_warning_and_beside_the_variables_of_kubernetes(tmp_path: Path) -> None:
    variables = {**_OF_KUBERNETES, "FUSEBOX_RETENTON": "1h", "FUSEBOX_DATA_DIR": str(tmp_path)}

    ended = _ended("keys", "list", **variables)

    assert (ended.returncode, ended.stdout.split()) == (0, ["ID", "NAME", "MADE", "STATE"])
    assert (
        ended.stderr == "fusebox: warning: FUSEBOX_RETENTON is no setting, and is ignored; FUSEBOX_RETENTION is one\n"
    )
