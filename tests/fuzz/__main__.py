"""`python -m tests.fuzz TARGET [OPTION ...]`: a target under atheris; options are libFuzzer's (`-runs=1000000`).

What is found new lies in .fuzz/TARGET; the seeds are in tests/fuzz/corpus/TARGET.
"""

import sys
from pathlib import Path

import atheris  # type: ignore[import-not-found,import-untyped]  # `make fuzz` installs it

import app.engine  # noqa: F401  # first without instruments: only the readers are to have them

_READERS = ("app.engine.formats", "app.engine.loading")
for _known in [name for name in sys.modules if name.startswith(_READERS)]:
    del sys.modules[_known]
with atheris.instrument_imports(include=list(_READERS)):
    from tests.fuzz import targets

_SEEDS = Path(__file__).parent / "corpus"


def main() -> None:
    name, *options = sys.argv[1:]
    found = Path(".fuzz") / name
    found.mkdir(parents=True, exist_ok=True)
    places = [str(found), str(_SEEDS / name)]
    limits = ["-max_len=8192", "-timeout=10", "-rss_limit_mb=3000", f"-artifact_prefix={found}-"]
    atheris.Setup([sys.argv[0], *limits, *options, *places], targets.guarded(name))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
