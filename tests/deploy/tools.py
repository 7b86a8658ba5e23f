"""The tools that read what is in deploy/: they are installed by `make check`, in an environment of their own."""

import subprocess
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parent.parent.parent
DEPLOY: Final = ROOT / "deploy"
CHART: Final = DEPLOY / "helm/fusebox"
_TOOLS: Final = ROOT / ".venv-deploy/bin"


def run(tool: str, *arguments: str | Path, given: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a tool in deploy/, with nothing in its environment but these variables."""
    return subprocess.run(
        [_TOOLS / tool, *arguments],
        cwd=DEPLOY,
        # Helm and compose look for settings of their own in HOME.
        env={"PATH": f"{_TOOLS}:/usr/bin:/bin", "HOME": str(_TOOLS.parent), **variables},
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def render(*arguments: str | Path) -> list[dict[str, Any]]:
    """The manifests that the chart becomes."""
    return [one for one in yaml.safe_load_all(_rendered(arguments)) if one]


@cache
def _rendered(arguments: tuple[str | Path, ...]) -> str:
    rendered = run("helm", "template", "fusebox", CHART, *arguments)
    assert rendered.returncode == 0, rendered.stderr
    return rendered.stdout
