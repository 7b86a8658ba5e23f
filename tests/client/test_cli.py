"""`fusebox-client` as a pipeline runs it: a process with arguments, output and an exit code, against a real service."""

import hashlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fusebox_client import Fusebox
from fusebox_client.cli.main import build
from tests.e2e.conftest import Server

Done = subprocess.CompletedProcess[str]
_COMMAND = [sys.executable, "-m", "fusebox_client"]


class Shell:
    """Runs the command in a directory of its own, with the service in the environment."""

    def __init__(self, service: Server, directory: Path) -> None:
        self.directory = directory
        plain = {name: value for name, value in os.environ.items() if not name.startswith("FUSEBOX_")}
        self.environment = plain | {"FUSEBOX_URL": service.url, "COLUMNS": "120", "TERM": "xterm"}

    def run(self, *arguments: object, **environment: str) -> Done:
        line = [*_COMMAND, *map(str, arguments)]
        env = self.environment | environment
        return subprocess.run(line, cwd=self.directory, env=env, capture_output=True, text=True, timeout=120)

    def files(self) -> list[str]:
        return sorted(one.name for one in self.directory.iterdir())


@pytest.fixture
def shell(service: Server, tmp_path: Path) -> Shell:
    return Shell(service, tmp_path)


@pytest.fixture(scope="module")
def done(service: Server, small: Path) -> str:
    """A finished job."""
    return Fusebox(service.url).fuse(small).wait().id


def test_submit_saves_the_fused_file_and_shows_what_was_done(shell: Shell, small: Path) -> None:
    done = shell.run("submit", small, "-o", "out.pt", "--report", "r/report.json")

    assert done.returncode == 0, done.stderr
    assert "1 layer replaced, 0 of 1 batch norms left" in done.stdout
    assert "Equivalent, measured end to end" in done.stdout
    assert "uploaded" in done.stderr
    assert "downloaded" in done.stderr
    report = json.loads((shell.directory / "r" / "report.json").read_text())
    assert report["output"]["sha256"] == hashlib.sha256((shell.directory / "out.pt").read_bytes()).hexdigest()


def test_json_is_one_document_and_quiet_says_nothing_else(shell: Shell, small: Path) -> None:
    done = shell.run("submit", small, "--json", "--quiet", "--require-layers", 1)

    document = json.loads(done.stdout)
    assert done.returncode == document["exit"] == 0
    assert done.stderr == ""
    assert document["file"] == "small.fused.pt"
    assert document["job"]["state"] == "succeeded"
    assert document["report"]["summary"]["batch_norms_after"] == 0
    assert document["gates"] == [{"name": "layers", "met": True, "sentence": "1 layers replaced, 1 demanded"}]
    assert shell.files() == ["small.fused.pt"]


def test_a_gate_that_is_not_met_ends_with_3_and_without_a_file(shell: Shell, small: Path) -> None:
    done = shell.run("submit", small, "--require-layers", 2, "--require-no-batch-norms", "--markdown", "-o", "out.pt")

    assert done.returncode == 3
    assert "| layers | **not met** |" in done.stdout
    assert "| no-batch-norms | met |" in done.stdout
    assert "gate layers is not met" in done.stderr
    assert shell.files() == []


def test_an_error_above_max_error_is_a_gate_too(shell: Shell, small: Path) -> None:
    done = shell.run("submit", small, "--max-error", "1e-12", "--json", "-q")

    document = json.loads(done.stdout)
    assert done.returncode == document["exit"] == 3
    assert document["problem"]["code"] == "not-equivalent"
    assert shell.files() == []


def test_a_file_that_can_not_be_fused_ends_with_1_and_its_problem(shell: Shell) -> None:
    (shell.directory / "notes.pt").write_text("These are notes.")

    done = shell.run("submit", "notes.pt", "--markdown")

    assert done.returncode == 1
    assert "[unsupported-format]" in done.stderr
    assert "`unsupported-format`" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["submit", "missing.pt"], "missing.pt: No such file"),
        (["submit", "."], "Is a directory"),
        (["submit"], "Missing argument"),
        (["submit", "m.pt", "--max-error", "much"], "a valid number"),
        (["submit", "m.pt", "--max-error", "-1"], "[invalid-option]"),
        (["submit", "m.pt", "--plan", "@nowhere.json"], "nowhere.json: No such file"),
        (["submit", "m.pt", "--json", "--markdown"], "take one"),
        (["submit", "m.pt", "--url", "fuse.example.org"], "pass http://HOST:PORT"),
        (["submit", "m.pt", "--ca", "m.pt"], "can't be used"),
        (["status", "0" * 32], "[job-not-found]"),
        (["wait", "https://x/no/job"], "no URL of a job"),
    ],
)
def test_what_can_not_be_served_as_it_is_ends_with_2(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    (shell.directory / "m.pt").write_text("x")
    monkeypatch.chdir(shell.directory)

    done = CliRunner().invoke(build(), arguments, env=shell.environment)

    assert done.exit_code == 2, done.stderr
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_service_that_is_not_there_ends_with_4(shell: Shell, small: Path) -> None:
    done = shell.run("submit", small, "--retries", 1, "--json", FUSEBOX_URL="http://127.0.0.1:1")

    assert done.returncode == json.loads(done.stdout)["exit"] == 4
    assert "trying again" in done.stderr
    assert "does not answer" in done.stderr


def test_without_a_url_it_is_said_how_to_give_one(shell: Shell, small: Path) -> None:
    done = shell.run("submit", small, FUSEBOX_URL="")

    assert done.returncode == 2
    assert "FUSEBOX_URL" in done.stderr


def test_a_job_can_be_left_alone_and_taken_up_by_its_url(shell: Shell, service: Server, small: Path) -> None:
    url = shell.run("submit", small, "--detach", "-q").stdout.strip()
    elsewhere = {"FUSEBOX_URL": ""}  # the job's URL says where the service is

    waited = shell.run("wait", url, **elsewhere)
    saved = shell.run("download", url, "-o", "dir/", "--json", **elsewhere)

    assert url.startswith(service.url)
    assert (waited.returncode, saved.returncode) == (0, 0), waited.stderr + saved.stderr
    assert "succeeded" in waited.stdout
    assert (shell.directory / json.loads(saved.stdout)["file"]).stat().st_size > 1000


def test_status_and_cancel_tell_where_a_job_stands(shell: Shell, small: Path, service: Server) -> None:
    job = Fusebox(service.url).fuse(small).wait()

    before = shell.run("status", job.id)
    canceled = shell.run("cancel", job.id)
    after = shell.run("status", job.id, "--json")

    assert (before.returncode, canceled.returncode, after.returncode) == (0, 0, 1)
    assert "succeeded" in before.stdout
    assert "small.fused.pt" in before.stdout
    assert "expired" in canceled.stdout
    assert json.loads(after.stdout)["job"]["state"] == "expired"
    assert shell.run("download", job.id).returncode == 1


def test_jobs_are_listed_as_table_and_as_json(shell: Shell, done: str) -> None:
    table = shell.run("list", "--limit", 100)
    document = json.loads(shell.run("list", "--json", "--state", "succeeded", "--limit", 1).stdout)

    assert table.returncode == 0, table.stderr
    assert done in table.stdout
    assert [job["state"] for job in document["jobs"]] == ["succeeded"]


def test_a_bundle_is_saved_under_its_name(shell: Shell, done: str) -> None:
    assert shell.run("download", done, "--bundle", "-q").returncode == 0
    assert shell.files() == ["small.fused.zip"]


def test_wait_ends_with_4_when_the_time_is_up(shell: Shell, long_job: Path, service: Server) -> None:
    job = Fusebox(service.url).fuse(long_job)

    done = shell.run("wait", job.id, "--timeout", "0.2")

    assert done.returncode == 4
    assert "it goes on" in done.stderr
    job.cancel()


def test_the_report_is_shown_and_judged_again(shell: Shell, done: str) -> None:
    table = shell.run("report", done, "--all")
    judged = shell.run("report", done, "--markdown", "--require-layers", 9)
    document = json.loads(shell.run("report", done, "--json", "-q").stdout)

    assert (table.returncode, judged.returncode) == (0, 3)
    assert "torch.nn" in table.stdout
    assert "**not met**" in judged.stdout
    assert document["report"]["schema_version"].startswith("1.")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("submit", "m.pt", "--json", "--dtype", "half"), "--dtype"),
        (("submit", "--json"), "MODEL"),
        (("submi", "--json"), "submi"),
        (("status", "--json", "--quickly", "x"), "--quickly"),
    ],
)
def test_what_was_typed_wrongly_is_told_as_json_too(shell: Shell, line: tuple[str, ...], said: str) -> None:
    ended = shell.run(*line)

    document = json.loads(ended.stdout)
    assert ended.returncode == document["exit"] == 2
    assert said in document["error"]
    assert said in ended.stderr


@pytest.mark.parametrize(("place", "said"), [("small.pt/x/y", "Not a directory"), ("-", "standard output")])
def test_a_place_where_nothing_can_be_written_is_told_before_anything_is_sent(
    shell: Shell, small: Path, place: str, said: str
) -> None:
    (shell.directory / "small.pt").write_bytes(small.read_bytes())
    ended = [
        shell.run("submit", "small.pt", "-o", place),
        shell.run("submit", "small.pt", "--report", place),
        shell.run("download", "no-such-job", "-o", place),
    ]

    for one in ended:
        assert (one.returncode, said in one.stderr, "uploaded" in one.stderr) == (2, True, False)
    assert shell.files() == ["small.pt"]


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({"HTTP_PROXY": "socks5://127.0.0.1:1"}, "http://localhost:1"),
        ({"HTTP_PROXY": "ftp://127.0.0.1:1"}, "http://localhost:1"),
        ({}, "http://ö ö/"),
    ],
)
def test_a_proxy_or_a_url_that_can_not_be_used_is_a_usage_error(
    shell: Shell, environment: dict[str, str], url: str
) -> None:
    ended = shell.run("list", "--url", url, "--retries", 0, **environment)

    assert (ended.returncode, "Traceback" in ended.stderr) == (2, False), ended.stderr
    assert ended.stderr.startswith("fusebox-client: ")


@pytest.mark.parametrize("columns", ["40", "80"])
def test_the_ids_of_a_list_are_whole_however_narrow_the_screen(shell: Shell, done: str, columns: str) -> None:
    listed = shell.run("list", COLUMNS=columns)

    assert done in listed.stdout
    assert "…" not in listed.stdout


def test_ctrl_c_while_libraries_are_loaded_ends_the_program_without_a_word(shell: Shell) -> None:
    (shell.directory / "httpx.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    program = "import sys; sys.path.insert(0, ''); from fusebox_client_command import main; main()"
    # What runs in a shell's background inherits that SIGINT is ignored, and so would the command.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    ended = subprocess.run(
        [sys.executable, "-c", program, "list"],
        cwd=shell.directory,
        env=shell.environment,
        capture_output=True,
        preexec_fn=heard,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")


def test_ctrl_c_leaves_the_job_alone_and_says_how_to_go_on(shell: Shell, long_job: Path, service: Server) -> None:
    line = [*_COMMAND, "submit", str(long_job)]
    # What runs in a shell's background inherits that SIGINT is ignored, and so would the command.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        line, cwd=shell.directory, env=shell.environment, stderr=subprocess.PIPE, text=True, preexec_fn=heard
    )
    assert process.stderr is not None
    lines = iter(process.stderr.readline, "")
    url = next(line.strip() for line in lines if line.startswith("http"))
    process.send_signal(signal.SIGINT)
    said = "".join(lines)
    process.stderr.close()

    assert process.wait(20) == 130
    assert f"fusebox-client wait {url}" in said
    job = Fusebox(service.url).job(url.rpartition("/")[2])
    assert job.state in ("queued", "running", "succeeded")
    job.cancel()


def test_a_terminal_shows_bars(shell: Shell, large: Path) -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*_COMMAND, "submit", str(large)], cwd=shell.directory, env=shell.environment, stdout=follower, stderr=follower
    )
    os.close(follower)
    shown = _read_all(leader)
    os.close(leader)

    assert process.wait(20) == 0
    for part in ("uploading", "uploaded", "downloaded", "\u2501", "2 layers replaced"):
        assert part in shown


def _read_all(leader: int) -> str:
    shown, end = b"", time.monotonic() + 100
    while time.monotonic() < end and select.select([leader], [], [], 60)[0]:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # EIO: the other side is closed
            break
        shown += piece
    return shown.decode("utf-8", "replace")


def test_names_of_files_do_not_steer_the_terminal(shell: Shell, small: Path) -> None:
    odd = shell.directory / "odd[red]\x1b[2J.pt"
    odd.write_bytes(small.read_bytes())

    done = shell.run("submit", odd, "-o", "out.pt")

    assert done.returncode == 0, done.stderr
    assert "\x1b[2J" not in done.stdout + done.stderr
    assert "odd[red]" in done.stdout


def test_every_command_explains_itself() -> None:
    for command in ("submit", "status", "wait", "download", "report", "list", "cancel"):
        shown = CliRunner().invoke(build(), [command, "--help"])
        assert shown.exit_code == 0
        assert "--url" in shown.stdout


def test_a_device_is_not_replaced_by_a_file_of_its_name(shell: Shell, small: Path) -> None:
    pipe = shell.directory / "pipe"
    os.mkfifo(pipe)

    done = shell.run("submit", small, "-o", pipe, "--json")

    assert done.returncode == 2
    assert "is no plain file" in done.stderr
    assert json.loads(done.stdout)["job"] is None, "it was sent for nothing"
    assert pipe.is_fifo()


def test_the_checkpoint_is_not_written_over(shell: Shell, small: Path) -> None:
    before = small.read_bytes()

    done = shell.run("submit", small, "-o", small)

    assert done.returncode == 2
    assert "is the checkpoint itself" in done.stderr
    assert small.read_bytes() == before


def test_a_name_that_is_no_utf8_is_sent_as_far_as_it_can_be_read(shell: Shell, small: Path) -> None:
    odd = shell.directory / os.fsdecode(b"b\xc3\xa4d\xff.pt")
    odd.write_bytes(small.read_bytes())
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    table = shell.run("submit", odd, "-o", shell.directory / os.fsdecode(b"\xff.pt"))
    document = shell.run("submit", odd, "--json", "-q", "-o", shell.directory / os.fsdecode(b"\xff.pt"))
    ascii_only = shell.run("submit", odd, **plain)

    assert table.returncode == document.returncode == ascii_only.returncode == 0, table.stderr + ascii_only.stderr
    assert "bäd\N{REPLACEMENT CHARACTER}.pt" in table.stdout
    assert json.loads(document.stdout)["job"]["input"]["filename"] == "bäd\N{REPLACEMENT CHARACTER}.pt"
    assert ascii_only.stdout.isascii()
    assert (shell.directory / os.fsdecode(b"\xff.pt")).is_file()


@pytest.mark.parametrize("form", [[], ["--json"], ["--markdown"]])
def test_a_reader_who_has_seen_enough_is_no_failed_job(shell: Shell, done: str, form: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)

    ended = subprocess.run(
        [*_COMMAND, "report", done, *form], env=shell.environment, stdout=write, stderr=subprocess.PIPE, timeout=60
    )
    os.close(write)

    assert ended.returncode == 141
    assert ended.stderr == b""


def test_a_key_that_no_header_can_hold_is_said_to_be_wrong_before_anything_is_sent(shell: Shell, small: Path) -> None:
    done = shell.run("submit", small, "--json", FUSEBOX_KEY="ключ")
    stored_with_a_line_end = shell.run("list", "--json", FUSEBOX_KEY="unasked-for\n")

    assert done.returncode == 2
    assert "The API key holds" in json.loads(done.stdout)["error"]
    assert stored_with_a_line_end.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="there is no full device")
def test_a_disk_that_is_full_is_told_without_the_systems_numbers(shell: Shell, done: str) -> None:
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [*_COMMAND, "report", done, "--markdown"],
            env=shell.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )

    assert ended.returncode != 0
    assert "No space left on device." in ended.stderr
    assert "Errno" not in ended.stderr
