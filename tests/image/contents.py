"""What is in an image, seen from outside: its configuration, its layers, and what it says of itself."""

import json
import mmap
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.image.building import DECOY, image, layers
from tests.image.engine import Engine

# Names of files that only build, test or leak.
_UNWANTED = re.compile(
    r"(^|/)(\.git|\.env|\.cache|tests|__MACOSX)(/|$)|(^|/)(pip\.conf|\.netrc|id_rsa|fusebox\.sqlite)$"
    r"|(^|/)(cc|gcc|g\+\+|cc1|ld|as|make|nvcc|cicc|ptxas|clang|tcc)$|site-packages/(pip|triton|pytest|mypy)/"
    r"|\.whl$|var/lib/apt/lists/.+|(^|/)include/.+\.h$"
)
_READ_ONLY = "import os, sys; sys.exit(any(os.access(p, os.W_OK) for p in ('/opt/fusebox', '/usr', '/etc')))"
_INSTALLED = (
    "import json; from importlib.metadata import distributions as d; "
    "print(json.dumps(sorted([x.name.lower().replace('_', '-').replace('.', '-'), x.version] for x in d())))"
)
_NO_TOOLS = (
    "import importlib.util as u, shutil, sys; found = [n for n in ('pip', 'cc', 'gcc', 'ld', 'make', 'git') "
    "if shutil.which(n)] + [n for n in ('pip', 'triton', 'pytest') if u.find_spec(n)]; "
    "sys.exit(str(found) if found else 0)"
)


_WRITABLE = ("find", "/", "-xdev", "(", "-path", "/proc", "-o", "-path", "/dev", ")", "-prune", "-o", "-perm", "-0002")
_WRITABLE += ("!", "-type", "l", "-print")


def configuration(engine: Engine, target: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(engine.docker("inspect", image(target)))[0]["Config"]
    return found


def runs_as_a_number(engine: Engine, target: str) -> str:
    user = str(configuration(engine, target)["User"])
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), user
    return f"user {user}"


def owns_nothing_of_the_system(engine: Engine, target: str) -> None:
    """Python's own test of rights, by the image's own user."""
    python(engine, target, _READ_ONLY)


def has_no_tools(engine: Engine, target: str) -> None:
    python(engine, target, _NO_TOOLS)


def lends_no_rights(engine: Engine, target: str) -> None:
    """No program runs with the rights of its owner or group."""
    found = run_as_root(engine, target, "find", "/", "-xdev", "-type", "f", "-perm", "/6000")
    assert not found, found


def is_written_by_its_user_alone_where_it_must(engine: Engine, target: str) -> str:
    """Beside the usual places for files of a moment, nobody may write anywhere."""
    found = run_as_root(engine, target, *_WRITABLE)
    assert set(found.split()) <= {"/tmp", "/var/tmp", "/run/lock"}, found
    return found.replace("\n", " ")


def is_labelled(engine: Engine, target: str) -> str:
    labels = configuration(engine, target)["Labels"]
    assert isinstance(labels, dict)
    wanted = ("title", "description", "version", "revision", "created", "source", "licenses")
    missing = [name for name in wanted if not labels.get(f"org.opencontainers.image.{name}")]
    assert not missing, missing
    assert labels["org.opencontainers.image.version"] == "0.0.test"
    return f"{labels['org.opencontainers.image.title']} {labels['org.opencontainers.image.version']}"


def lists_what_it_holds(engine: Engine, target: str) -> str:
    """Its bill of materials names every package that Python finds in it, and no other."""
    bill = json.loads(run(engine, target, "cat", "/usr/share/fusebox/fusebox.cdx.json"))
    assert bill["bomFormat"] == "CycloneDX", bill["bomFormat"]
    named = {(_plain(one["name"]), one["version"]) for one in bill["components"]}
    own = bill["metadata"]["component"]
    named.add((_plain(own["name"]), own["version"]))
    installed = {(name, version) for name, version in json.loads(python(engine, target, _INSTALLED))}
    assert named == installed, named ^ installed
    has_torch = any(name == "torch" for name, _ in named)
    assert has_torch == (target != "api"), "torch"
    return f"{len(named)} packages, CycloneDX {bill['specVersion']}, torch {'in' if has_torch else 'not in'} it"


def hides_nothing(engine: Engine, target: str, base: str, private: tuple[str, ...]) -> str:
    """No layer holds what only builds or tests, nor a file that lay beside the source, nor pip's configuration."""
    inherited = len(layers(engine, base))
    told = engine.docker("history", "--no-trunc", image(target)) + json.dumps(configuration(engine, target))
    secrets = [DECOY, *private]
    assert not [one for one in secrets if one in told], "the history tells how it was built"
    with TemporaryDirectory(prefix="fusebox-layers-") as place:
        unwanted, count = [], 0
        own = list(_saved(engine, target, Path(place)))[inherited:]
        for layer in own:
            with tarfile.open(layer) as archive:
                names = archive.getnames()
            count += len(names)
            unwanted += [name for name in names if _UNWANTED.search(name)]
            unwanted += [f"{one!r} in a file" for one in secrets if _holds(layer, one)]
    assert not unwanted, unwanted[:10]
    return f"{count:,} names in {len(own)} layers"


def _saved(engine: Engine, target: str, place: Path) -> Iterator[Path]:
    engine.docker("save", "--output", place / "image.tar", image(target))
    with tarfile.open(place / "image.tar") as archive:
        archive.extractall(place, filter="data")
    for name in json.loads((place / "manifest.json").read_bytes())[0]["Layers"]:
        yield place / name


def _holds(path: Path, text: str) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(text.encode()) >= 0


def run(engine: Engine, target: str, program: str, *arguments: object) -> str:
    return engine.docker("run", "--rm", "--network", "none", "--entrypoint", program, image(target), *arguments)


def run_as_root(engine: Engine, target: str, program: str, *arguments: object) -> str:
    """With every directory open to it."""
    options = ("--rm", "--network", "none", "--user", "0", "--entrypoint", program)
    return engine.docker("run", *options, image(target), *arguments)


def python(engine: Engine, target: str, source: str) -> str:
    return run(engine, target, "python", "-c", source)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
