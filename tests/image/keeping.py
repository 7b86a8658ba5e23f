"""Back-up and restore as deploy/ has them, with a stand-in for compose that says the same to the engine."""

import subprocess
from pathlib import Path

from tests.image.building import image
from tests.image.container import Container
from tests.image.engine import Engine

_DEPLOY = Path(__file__).resolve().parent.parent.parent / "deploy"
# `exec -T SERVICE ...` and `run --rm -T --no-deps --entrypoint sh SERVICE ...`
_COMPOSE = """#!/bin/sh
case $1 in
  exec) shift 3; exec {client} exec -i {container} "$@" ;;
  run) shift 7; exec {client} run --rm -i --network none -v {volume}:/data --entrypoint sh {image} "$@" ;;
esac
"""


def is_backed_up_and_restored(container: Container, volume: str, place: Path) -> str:
    """While it runs; into an empty volume, all of it or nothing."""
    compose = _compose(container, volume, place / "compose")
    archive = _run(container.engine, compose, "backup.sh").stdout

    for wrong, why in (
        (archive[: len(archive) // 2], "damaged"),
        (b"", "damaged"),
        (archive, None),
        (archive, "holds"),
    ):
        ended = _run(container.engine, compose, "restore.sh", wrong)
        assert (ended.returncode != 0) == (why is not None), ended.stderr
        assert why is None or (why in ended.stderr.decode() and b"nothing was restored" in ended.stderr), ended.stderr
    return f"{len(archive):,} bytes"


def _compose(container: Container, volume: str, path: Path) -> Path:
    client = container.engine.client
    text = _COMPOSE.format(client=client, container=container.name, volume=volume, image=image("fusebox"))
    path.write_text(text, encoding="ascii")
    path.chmod(0o755)
    return path


def _run(engine: Engine, compose: Path, script: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment = engine.environment | {"COMPOSE": str(compose)}
    return subprocess.run(["sh", _DEPLOY / script], env=environment, input=given, capture_output=True, check=False)
