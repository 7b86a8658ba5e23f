"""Building every target from a copy of the source, cold and after a change, beside files that must stay out."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.image.bases import Bases
from tests.image.engine import Engine

_ROOT = Path(__file__).resolve().parent.parent.parent
_CONTEXT = ("Dockerfile", ".dockerignore", "LICENSE", "README.md", "pyproject.toml", "requirements", "app")
DECOY = "decoy-7d0f5c-that-no-image-may-hold"
_DECOYS = (".env", ".git/config", "data/fusebox.sqlite", "tests/test_decoy.py", "app/__pycache__/decoy.pyc", "id_rsa")
TARGETS = ("fusebox", "worker", "api")


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds with the CPU lock."""

    engine: Engine
    bases: Bases
    context: Path

    def build(self, target: str, *more: object) -> float:
        """How many seconds it took."""
        begun = time.monotonic()
        given = [*self.bases.arguments, "--build-arg", "ACCELERATOR=cpu", "--build-arg", "VERSION=0.0.test"]
        self.engine.docker(
            "build", "--network", "host", *given, "--target", target, "--tag", image(target), *more, self.context
        )
        return time.monotonic() - begun

    def change_the_source(self) -> None:
        path = self.context / "app" / "errors.py"
        path.write_text(path.read_text(encoding="utf-8") + "\n_CHANGED = True\n", encoding="utf-8")


def image(target: str) -> str:
    return f"fusebox-test-{target}"


@contextmanager
def a_builder(engine: Engine, bases: Bases) -> Iterator[Builder]:
    with TemporaryDirectory(prefix="fusebox-context-") as place:
        context = Path(place)
        for name in _CONTEXT:
            if (_ROOT / name).is_dir():
                shutil.copytree(_ROOT / name, context / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(_ROOT / name, context / name)
        for name in _DECOYS:
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            (context / name).write_text(f"KEY={DECOY}\n", encoding="ascii")
        yield Builder(engine, bases, context)


def layers(engine: Engine, name: str) -> list[str]:
    return engine.docker("inspect", "--format", '{{join .RootFS.Layers " "}}', name).split()
