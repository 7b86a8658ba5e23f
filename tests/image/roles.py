"""The API and the worker apart, and a worker where the engine's own filter forbids what it confines its jobs with."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.image.building import image
from tests.image.container import STRICT, remove_volume, running, volume
from tests.image.engine import DockerFailed, Engine
from tests.image.samples import Sample
from tests.image.serving import fuses

_ROOT = Path(__file__).resolve().parent.parent.parent
PROFILE = _ROOT / "deploy" / "seccomp" / "fusebox.json"
_LANDLOCK = ("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self")
_WITHOUT_LANDLOCK = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": _LANDLOCK, "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
}


def work_apart(engine: Engine, sample: Sample, place: Path) -> str:
    """Two containers over one volume; the API alone is alive and not ready."""
    shared = volume(engine, "fusebox-test-apart")
    options = ("--volume", f"{shared}:/data", "--env", "FUSEBOX_AUTH=off")
    try:
        with running(engine, "api", *options) as api:
            api.until_healthy()
            assert api.status("/readyz") == 503
            with running(engine, "worker", *options, publish=False) as worker:
                worker.until_healthy()
                api.until_ready()
                return fuses(api, sample, place)
    finally:
        remove_volume(engine, shared)


def api_says_what_it_lacks(engine: Engine) -> str:
    """For each command that it has no use for, in a sentence."""
    for command in (["serve"], ["worker"], ["verify-gpu"], ["inspect", "/etc/hostname"]):
        try:
            engine.docker("run", "--rm", "--network", "none", *STRICT, image("api"), *command)
        except DockerFailed as error:
            said = str(error).rpartition("fusebox: ")[2]
        else:
            said = "nothing"
        assert "needs torch" in said, said
    return said


def is_confined_under(engine: Engine, profile: Path) -> str:
    with running(engine, "fusebox", "--security-opt", f"seccomp={profile}", "--env", "FUSEBOX_AUTH=off") as container:
        said = container.until_ready()
        assert said["sandbox"] == "full", said
        return json.dumps(said)


def worker_refuses_without_landlock(engine: Engine) -> str:
    """Rather than work on uploads less confined than it was told: it ends, and says what is missing."""
    with TemporaryDirectory(prefix="fusebox-profile-") as place:
        profile = Path(place) / "profile.json"
        profile.write_text(json.dumps(_WITHOUT_LANDLOCK), encoding="ascii")
        with running(engine, "worker", "--security-opt", f"seccomp={profile}", publish=False) as worker:
            worker.until(lambda: not worker.state()["Running"])
            said = worker.logs().strip().splitlines()[-1]
            assert worker.state()["ExitCode"] == 2, said
            assert said.startswith("fusebox: "), said
            assert "FUSEBOX_SANDBOX is 'required'" in said, said
            return said.removeprefix("fusebox: ")[:120] + "..."


def worker_refuses_a_device_that_is_not_there(engine: Engine) -> str:
    """Before it takes a job, and in a sentence."""
    with running(engine, "worker", "--env", "FUSEBOX_DEVICE=cuda:0", publish=False) as worker:
        worker.until(lambda: not worker.state()["Running"])
        said = worker.logs().strip().splitlines()[-1]
        assert worker.state()["ExitCode"] == 2, said
        assert said.startswith("fusebox: "), said
        assert "FUSEBOX_DEVICE=cpu" in said, said
        return said.removeprefix("fusebox: ")
