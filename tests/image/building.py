"""Building every target from a copy of the source, cold and after a change, beside files that must stay out."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.image.bases import Bases
from tests.image.engine import DockerFailed, Engine

_ROOT = Path(__file__).resolve().parent.parent.parent
_CONTEXT = ("Dockerfile", ".dockerignore", "LICENSE", "README.md", "pyproject.toml", "requirements", "app")
DECOY = "decoy-7d0f5c-that-no-image-may-hold"
_DECOYS = (
    *(".env", ".git/config", "data/fusebox.sqlite", "tests/test_decoy.py", "id_rsa", "yolov7.pt"),
    *("app/__pycache__/decoy.pyc", "app/.env", "app/id_rsa", "app/api/server.pem", "app/yolov7.pt"),
    "app/web/notes.txt",
    *("requirements/.netrc", "requirements/pip.conf"),
)
# Lists all that the engine is sent.
_CONTEXT_LIST = "FROM {base}\nCOPY . /context\nRUN cd /context && find . -type f | sort > /list\n"
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

    def context_files(self) -> list[str]:
        """What a build sees of the directory that it is given."""
        recipe = self.context.parent / f"{self.context.name}.list"
        recipe.write_text(_CONTEXT_LIST.format(base=self.bases.name), encoding="ascii")
        try:
            self.engine.docker("build", "--tag", image("context"), "--file", recipe, self.context)
        finally:
            recipe.unlink()
        listed = self.engine.docker(
            "run", "--rm", "--network", "none", "--entrypoint", "cat", image("context"), "/list"
        )
        return [name.removeprefix("./") for name in listed.split()]

    def change_the_source(self) -> None:
        path = self.context / "app" / "errors.py"
        path.write_text(path.read_text(encoding="utf-8") + "\n_CHANGED = True\n", encoding="utf-8")


def sends_what_it_needs_alone(builder: Builder) -> str:
    """Whatever lies beside the source or in it, a build is sent the source."""
    wanted = []
    for name in set(_CONTEXT) - {"Dockerfile", ".dockerignore"}:
        place = _ROOT / name
        found = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
        wanted += [str(file.relative_to(_ROOT)) for file in found if "__pycache__" not in file.parts]
    sent = set(builder.context_files())
    assert sent == set(wanted), sorted(sent ^ set(wanted))[:10]
    return f"{len(sent)} files, none of {len(_DECOYS)} others"


def refuses_nonsense(builder: Builder) -> str:
    """Before anything is installed, and in a sentence."""
    try:
        builder.build("fusebox", "--build-arg", "ACCELERATOR=nonsense")
    except DockerFailed as error:
        said = str(error)
    else:
        said = "it was built"
    assert "ACCELERATOR is 'nonsense', which is neither cuda nor cpu." in said, said
    return "ACCELERATOR=nonsense"


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
