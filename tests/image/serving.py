"""The all-in-one image at work: what an operator and a caller see, and what is left when it is killed or stopped."""

import json
import signal
import time
from pathlib import Path
from typing import Any

from tests.image.container import Container, running
from tests.image.engine import Engine
from tests.image.samples import Sample

# What `docker stop` gives where nobody says more.
_STOP_SECONDS = 10

# Asks from inside, where no network is: the image has no curl.
_FUSE_INSIDE = """
import http.client, sys
head = b'--b\\r\\nContent-Disposition: form-data; name="model"; filename="m.pt"\\r\\n\\r\\n'
body = head + sys.stdin.buffer.read() + b'\\r\\n--b--\\r\\n'
caller = http.client.HTTPConnection('127.0.0.1', 8000, timeout=120)
caller.request('POST', '/fuse?wait=100', body, {'Content-Type': 'multipart/form-data; boundary=b'})
answer = caller.getresponse()
print(answer.status, len(answer.read()), [line.split()[0] for line in open('/proc/net/dev') if ':' in line])
"""


_SIGNAL_WORKER = """
import os, pathlib, sys
[pid] = [p.name for p in pathlib.Path('/proc').glob('[0-9]*') if b'app\\0worker\\0' in (p / 'cmdline').read_bytes()]
os.kill(int(pid), int(sys.argv[1]))
"""


def is_ready_and_confined(container: Container) -> str:
    said = container.until_ready()
    assert said["sandbox"] == "full", said
    return json.dumps(said)


def tells_what_it_runs_on(container: Container) -> str:
    [line] = [line for line in container.logs().splitlines() if "worker.ready" in line]
    told = json.loads(line[line.index("{") :])
    assert told["device"].startswith("cpu"), told
    assert (told["sandbox"], told["data_dir"]) == ("full", "/data"), told
    return json.dumps({name: told[name] for name in ("device", "torch", "sandbox", "data_dir")})


def asks_for_the_key_that_it_printed(container: Container, sample: Sample) -> str:
    assert container.status("/fuse", "-F", f"model=@{sample.path}") == 401
    key = container.take_the_key()
    assert container.status("/v1/jobs") == 200
    return f"{key[:7]}... from `docker logs`"


def fuses(container: Container, sample: Sample, place: Path) -> str:
    """By curl, and what comes back computes the same as what went in."""
    fused = place / sample.fused_name
    form = [part for name, value in sample.options.items() for part in ("-F", f"{name}={value}")]
    code = container.status("/fuse?wait=150", "-F", f"model=@{sample.path}", *form, output=fused)
    assert code == 200, fused.read_text(errors="replace")[:1000]
    assert fused.read_bytes() != sample.path.read_bytes()
    difference = sample.difference(fused)
    assert difference < 1e-4, difference
    return f"{sample.path.stat().st_size:,} bytes, difference {difference:.1e}"


def refuses(container: Container, path: Path) -> str:
    answer = json.loads(container.curl("/fuse?wait=100", "-F", f"model=@{path}"))
    assert answer["status"] == 422, answer
    assert "executed" not in container.execute("ls", "/data", "/tmp")
    return str(answer["code"])


def writes_nowhere_else(container: Container) -> None:
    written = container.execute("sh", "-c", "for d in / /opt /usr /etc /var/tmp; do touch $d/x 2>&1 || true; done")
    assert written.count("Read-only file system") == 5, written


def reaps_what_is_left_to_it(container: Container) -> str:
    """A process whose parent has gone falls to the first one; tini takes note of its end."""
    assert container.execute("cat", "/proc/1/comm") == "tini"
    container.execute("sh", "-c", "(sleep 0.2 &) ; exit 0")
    time.sleep(1)
    states = container.execute("sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null || true")
    assert ") Z " not in states, states
    return "tini is process 1"


def outlives_its_worker(container: Container, path: Path) -> str:
    """kill -9 of the worker in the middle of a job: another one does it, and nothing of the first is left."""
    job_id = container.submit(path)
    container.until(lambda: _under_way(container.job(job_id)))
    _signal_worker(container, signal.SIGKILL)
    job = _ended(container, job_id)
    assert (job["state"], job["attempts"]) == ("succeeded", 2), job
    states = container.execute("sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null || true")
    assert ") Z " not in states, states
    return f"{len(states.splitlines())} processes, none of them a zombie"


def tells_of_a_worker_that_hangs(container: Container) -> None:
    """The health check fails while it hangs, and not for longer."""
    container.until_healthy()
    _signal_worker(container, signal.SIGSTOP)
    container.until(lambda: container.state()["Health"]["Status"] == "unhealthy")
    _signal_worker(container, signal.SIGCONT)
    container.until_healthy()


def survives_a_full_volume(container: Container, sample: Sample) -> str:
    """An upload is refused with its reason; with room again, all is as it was."""
    container.execute("sh", "-c", "dd if=/dev/zero of=/data/filler bs=1M 2>/dev/null || true")
    answer = json.loads(container.curl("/fuse?wait=60", "-F", f"model=@{sample.path}"))
    assert (answer["status"], answer["code"]) == (507, "disk-full"), answer
    container.execute("rm", "/data/filler")
    container.until_ready()
    assert container.status("/fuse?wait=120", "-F", f"model=@{sample.path}") == 200
    return str(answer["detail"])


def has_no_right_left(container: Container) -> str:
    """Of every process in it, as the kernel tells."""
    told = container.execute("sh", "-c", "cat /proc/[0-9]*/status")
    assert {line.split()[1] for line in told.splitlines() if line.startswith("CapEff")} == {"0000000000000000"}
    assert {line.split()[1] for line in told.splitlines() if line.startswith("NoNewPrivs")} == {"1"}
    assert {line.split()[1] for line in told.splitlines() if line.startswith("Uid")} == {"10001"}
    return f"{told.count('CapEff')} processes"


def finishes_after_kill(engine: Engine, volume: str, key: str, path: Path) -> str:
    """`docker kill -s KILL` in the middle of a job; another container with the same volume ends it."""
    with running(engine, "fusebox", "--volume", f"{volume}:/data") as container:
        container.key = key
        container.until_ready()
        job_id = container.submit(path)
        seen = container.until(lambda: _under_way(container.job(job_id)))
        engine.docker("kill", "--signal", "KILL", container.name)
        assert container.state()["ExitCode"] == 137
    with running(engine, "fusebox", "--volume", f"{volume}:/data") as container:
        container.key = key
        begun = time.monotonic()
        job = _ended(container, job_id)
        assert job["state"] == "succeeded", job
        assert container.status(f"/v1/jobs/{job_id}/model") == 200
        return f"killed while {seen}, succeeded {time.monotonic() - begun:.1f} s after the next start"


def stops_in_time(engine: Engine, volume: str, key: str, path: Path) -> str:
    """`docker stop` in the middle of a job and of an upload: it ends by itself with code 0, and nothing is lost."""
    with running(engine, "fusebox", "--volume", f"{volume}:/data") as container:
        container.key = key
        container.until_ready()
        job_id = container.submit(path)
        container.until(lambda: container.job(job_id)["state"] == "running")
        cut_off = container.slow_upload(path)
        begun = time.monotonic()
        engine.docker("stop", container.name)
        took = time.monotonic() - begun
        answer = json.loads(cut_off.communicate()[0])
        assert (answer["status"], answer["code"]) == (503, "service-stopping"), answer
        state = container.state()
        assert state["ExitCode"] == 0, state
        assert took < _STOP_SECONDS
        logs = container.logs()
        assert "serve.killed" not in logs
        assert "Traceback" not in logs, logs[-2000:]
        engine.docker("start", container.name)
        container.url = "http://" + engine.docker("port", container.name, "8000").splitlines()[0]
        job = _ended(container, job_id)
        assert job["state"] == "succeeded", job
        return f"{took:.1f} s, exit code 0; the job succeeded"


def needs_no_network(container: Container, sample: Sample) -> str:
    container.until_healthy()
    said = container.execute("python", "-c", _FUSE_INSIDE, stdin=sample.path.read_bytes())
    assert said.startswith("200 "), said
    assert said.endswith("['lo:']"), said
    return said


def serves_all_without_keys(container: Container, sample: Sample, place: Path) -> str:
    container.until_ready()
    assert "Bearer" not in container.logs()
    return fuses(container, sample, place)


def _signal_worker(container: Container, number: signal.Signals) -> None:
    container.execute("python", "-c", _SIGNAL_WORKER, str(int(number)))


def _under_way(job: dict[str, Any]) -> str | None:
    """The phase of a job which has come so far that there is something to lose."""
    return job["phase"] if job["state"] == "running" and job["phase"] in ("fusing", "verifying", "writing") else None


def _ended(container: Container, job_id: str) -> dict[str, object]:
    found: dict[str, object] = container.until(
        lambda: (job := container.job(job_id))["state"] in ("succeeded", "failed", "canceled", "expired") and job
    )
    return found
