import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import InvalidSettings, Settings, as_environment, make_data_dir, read_settings

_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("FUSEBOX_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("15m", 900), ("24h", 86400), ("7d", 604800), ("1.5h", 5400), ("5e-05", 5e-05)],
)
def test_retention_reads_as_people_write_times(monkeypatch: pytest.MonkeyPatch, text: str, seconds: float) -> None:
    monkeypatch.setenv("FUSEBOX_RETENTION", text)

    assert read_settings().retention == seconds


@pytest.mark.parametrize(("text", "size"), [("1024", 1024), ("512M", 512 << 20), ("4g", 4 << 30), ("2GiB", 2 << 30)])
def test_sizes_read_as_people_write_them(monkeypatch: pytest.MonkeyPatch, text: str, size: int) -> None:
    monkeypatch.setenv("FUSEBOX_MAX_UPLOAD_BYTES", text)

    assert read_settings().max_upload_bytes == size


def test_without_any_setting_all_lies_in_one_directory_on_loopback(tmp_path: Path) -> None:
    settings = read_settings(data_dir=tmp_path)

    assert (settings.host, settings.port, settings.retention) == ("127.0.0.1", 8000, 24 * 3600)
    assert settings.database == f"sqlite:///{tmp_path}/fusebox.sqlite"
    assert settings.blobs == f"file://{tmp_path}/blobs"


def test_the_command_line_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUSEBOX_PORT", "9000")

    assert read_settings(port=None).port == 9000
    assert read_settings(port=9001).port == 9001


def test_settings_survive_the_way_to_a_child_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = read_settings(
        data_dir=tmp_path, retention="2h", max_upload_bytes="1G", device="cuda:1", port=1, queue_poll_seconds="0.00005"
    )
    for name, value in as_environment(settings).items():
        monkeypatch.setenv(name, value)

    assert read_settings() == settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "70000"),
        ("RETENTION", "a day"),
        ("RETENTION", "0"),
        ("RETENTION", "999999999d"),
        ("DEVICE", "gpu"),
        ("MAX_UPLOAD_BYTES", "-1"),
        ("MAX_ATTEMPTS", "0"),
    ],
)
def test_a_bad_value_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"FUSEBOX_{name}", value)

    with pytest.raises(InvalidSettings, match=rf"FUSEBOX_{name} is .*{value}"):
        read_settings()


def test_a_bad_setting_ends_the_program_with_a_sentence_and_no_traceback() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "app", "serve"],
        cwd=_ROOT,
        env={**os.environ, "FUSEBOX_RETENTION": "forever"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 2
    assert ended.stderr.startswith("fusebox: FUSEBOX_RETENTION is 'forever': write a number of seconds")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("name", ["DATABASE_URL", "BLOB_URL"])
@pytest.mark.parametrize("value", ["nonsense", "mysql://user:secret@h/x", "s3://", "file://relative", "postgres:/x"])
def test_a_store_of_an_unknown_kind_is_refused_without_repeating_its_password(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"FUSEBOX_{name}", value)

    with pytest.raises(InvalidSettings, match=f"FUSEBOX_{name} is not valid: write ") as caught:
        read_settings()

    assert "secret" not in str(caught.value)


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOST", "PORT", "DATA_DIR", "RETENTION"):
        monkeypatch.setenv(f"FUSEBOX_{name}", "")

    assert read_settings() == Settings()
    assert (read_settings().host, read_settings().data_dir.name) == ("127.0.0.1", "data")
    with pytest.raises(InvalidSettings, match="FUSEBOX_HOST"):
        read_settings(host="")


def test_a_data_directory_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    for place in (tmp_path / "file", tmp_path / "file" / "x", Path("/proc/x"), tmp_path / "what?"):
        with pytest.raises(InvalidSettings, match=r"FUSEBOX_DATA_DIR is .*(file|x|what)"):
            make_data_dir(read_settings(data_dir=place))


@pytest.mark.parametrize(
    ("host", "auth", "keys", "required"),
    [
        ("127.0.0.1", "auto", "", False),
        ("localhost", "auto", "", False),
        ("::1", "auto", "", False),
        ("0.0.0.0", "auto", "", True),
        ("::", "auto", "", True),
        ("fusebox.example.org", "auto", "", True),
        ("127.0.0.1", "auto", "a=" + "k" * 40, True),
        ("127.0.0.1", "required", "", True),
        ("0.0.0.0", "off", "", False),
    ],
)
def test_keys_are_required_where_others_reach_the_service(host: str, auth: str, keys: str, required: bool) -> None:
    assert read_settings(host=host, auth=auth, api_keys=keys).keys_required is required


@pytest.mark.parametrize(
    "value", ["secret", "a=secret", "a=sha256:" + "f" * 63, "a=" + "secret " * 9, f"a={'secret' * 9},a={'s' * 40}"]
)
def test_a_key_that_is_too_short_or_unclear_is_refused_without_repeating_it(value: str) -> None:
    with pytest.raises(InvalidSettings, match="FUSEBOX_API_KEYS is not valid") as caught:
        read_settings(api_keys=value)

    assert "secret" not in str(caught.value)


def test_keys_are_read_from_a_file_with_remarks(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# ours\nalice={'k' * 40}  # since May\nbob=sha256:{'AB' * 32}\n", encoding="utf-8")

    given = read_settings(api_keys_file=str(tmp_path / "keys"), api_keys=f"ops={'o' * 32}").given_keys()

    assert given["alice"] == hashlib.sha256(b"k" * 40).hexdigest()
    assert (given["bob"], len(given)) == ("ab" * 32, 3)
    with pytest.raises(InvalidSettings, match=r"FUSEBOX_API_KEYS_FILE is .*No such file"):
        read_settings(api_keys_file=str(tmp_path / "none")).given_keys()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PUBLIC_URL", "fuse.example.org"),
        ("PUBLIC_URL", "https://x/';rm"),
        ("ALLOWED_HOSTS", "a b"),
        ("TRUSTED_PROXIES", "proxy.local"),
        ("AUTH", "maybe"),
    ],
)
def test_what_the_boundary_rests_on_is_checked(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"FUSEBOX_{name}", value)

    with pytest.raises(InvalidSettings, match=f"FUSEBOX_{name}"):
        read_settings()


def test_names_that_a_checkpoint_may_call_are_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUSEBOX_ALLOWED_GLOBALS", "my.package.*, other.Class")

    assert read_settings().allowed_names == ("my.package.*", "other.Class")
    assert read_settings(allowed_globals="").allowed_names == ()


@pytest.mark.parametrize("text", ["*", "os", "a.b,", "a b.c", ".*", "a..b"])
def test_what_is_no_name_with_its_package_is_refused(text: str) -> None:
    with pytest.raises(InvalidSettings, match=r"my\.package\.Class"):
        read_settings(allowed_globals=text)
