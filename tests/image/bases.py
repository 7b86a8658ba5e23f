"""What the images are built from: the Dockerfile's own base where it can be pulled, else a stand-in from Debian."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.image.engine import DockerFailed, Engine

_ROOT = Path(__file__).resolve().parent.parent.parent
_BASE = "python:3.11-slim-bookworm"
_STAND_IN, _BUILDER = "fusebox-test-base:1", "fusebox-test-builder:1"
_MEMORY = "/dev/shm"
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


@dataclass(frozen=True, slots=True)
class Bases:
    """`arguments` are for `docker build`; `private` is what the build knows and no image may tell."""

    name: str
    arguments: tuple[str, ...] = ()
    private: tuple[str, ...] = ()


def find_bases(engine: Engine) -> Bases:
    """The real base, or the stand-in with a builder that reaches packages as pip on this machine does."""
    try:
        engine.docker("pull", "--quiet", _BASE)
        return Bases(_BASE)
    except DockerFailed:
        pass
    with tempfile.TemporaryDirectory(prefix="fusebox-base-") as place:
        _bootstrap(engine, Path(place) / "base.tar")
        return _builder(engine, Path(place) / "builder")


def _bootstrap(engine: Engine, archive: Path) -> None:
    leave_out = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")]
    command = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=python3,ca-certificates", *leave_out]
    command += ["--dpkgopt=force-unsafe-io", "bookworm", archive]
    # Thousands of small files, which are gone when the archive is there: they need not touch a disk.
    place = {"TMPDIR": _MEMORY} if os.access(_MEMORY, os.W_OK) else {}
    subprocess.run(command, env=os.environ | place, check=True)
    engine.docker("import", archive, _STAND_IN)


def _builder(engine: Engine, context: Path) -> Bases:
    """The stand-in and pip, set up as here; wheels that only this machine has come along."""
    settings = _pip_settings()
    (context / "wheels").mkdir(parents=True)
    wheels = _locked_wheels(settings.pop("find-links", ""))
    for wheel in wheels:
        shutil.copy(wheel, context / "wheels")
    steps = [f"FROM {_STAND_IN}", "RUN apt-get update && apt-get install -y --no-install-recommends python3-pip tini"]
    certificates = settings.pop("cert", "")
    if certificates:
        shutil.copy(certificates, context / "certificates")
        steps.append(f"COPY certificates {_CERTIFICATES}")
        settings["cert"] = _CERTIFICATES
    lines = [f"{name} = {value}" for name, value in settings.items()]
    (context / "pip.conf").write_text("\n".join(["[global]", "find-links = /wheels", *lines]) + "\n", encoding="utf-8")
    (context / "Dockerfile").write_text(
        "\n".join([*steps, "COPY pip.conf /etc/", "COPY wheels /wheels"]), encoding="utf-8"
    )
    engine.docker("build", "--network", "host", "--quiet", "--tag", _BUILDER, context)
    given = {"BASE_IMAGE": _STAND_IN, "BUILD_IMAGE": _BUILDER}
    if any(wheel.name.startswith("torch-") for wheel in wheels):
        given["CPU_INDEX"] = ""
    private = [settings.get("index-url", ""), settings.get("extra-index-url", "")]
    arguments = [part for name, value in given.items() for part in ("--build-arg", f"{name}={value}")]
    return Bases(_STAND_IN, tuple(arguments), tuple(filter(None, private)))


def _pip_settings() -> dict[str, str]:
    """What pip was told on this machine of indexes, certificates and wheels; indexes on its disk stay out of reach."""
    listed = subprocess.run(["python3", "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    found: dict[str, str] = {}
    for line in listed.stdout.splitlines():
        name, _, value = line.partition("=")
        found[name.rpartition(".")[2].replace("_", "-")] = value.strip("'\"")
    wanted = {name: found[name] for name in ("index-url", "extra-index-url", "cert", "find-links") if name in found}
    for name in ("index-url", "extra-index-url"):
        reached = [one for one in wanted.pop(name, "").split() if not one.startswith("file:")]
        if reached:
            wanted[name] = " ".join(reached)
    return wanted


def _locked_wheels(places: str) -> list[Path]:
    """Wheels in these directories that the lock for CPUs names by their hashes."""
    lock = (_ROOT / "requirements/cpu.txt").read_text(encoding="utf-8")
    found = []
    for place in places.split():
        with contextlib.suppress(OSError):
            wheels = sorted(Path(place.removeprefix("file://")).glob("*.whl"))
            found += [wheel for wheel in wheels if hashlib.sha256(wheel.read_bytes()).hexdigest() in lock]
    return found
