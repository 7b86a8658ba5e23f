"""The examples of docs/examples, each run against a real service.

What they run on stands beside this file in a few lines (`standins`), unless EXAMPLES_PYTHON names an interpreter that
has MLflow, Airflow, DVC and the client: `make examples` does so.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.client.proxy import Cut, Proxy
from tests.e2e.conftest import Server

_EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
_REAL = os.environ.get("EXAMPLES_PYTHON", "")
_PYTHON = _REAL or sys.executable
# The interpreter's own programs first: fusebox-client, dvc.
_PATH = f"{Path(_PYTHON).parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"

Done = subprocess.CompletedProcess[str]


@pytest.fixture
def workspace(service: Server, small: Path, tmp_path: Path) -> "Workspace":
    """A directory with a checkpoint `best.pt`."""
    shutil.copy(small, tmp_path / "best.pt")
    return Workspace(tmp_path, service.url)


class Workspace:
    """Runs command lines in a directory, as a pipeline does."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("FUSEBOX_", "PYTEST_"))}
        standins = [] if _REAL else [str(Path(__file__).parent / "standins")]
        paths = os.pathsep.join([*standins, str(_EXAMPLES)])
        self.environment = plain | {"FUSEBOX_URL": url, "PATH": _PATH, "PYTHONPATH": paths}

    def run(self, *line: object, **environment: object) -> Done:
        given = {name: str(value) for name, value in environment.items()}
        words = [str(word) for word in line]
        env = self.environment | given
        return subprocess.run(words, cwd=self.directory, env=env, capture_output=True, text=True, timeout=200)

    def is_fused(self, name: str) -> bool:
        """Whether the file is there and holds no batch norm, by torch's own reading."""
        import torch

        path = self.directory / name
        if not path.exists():
            return False
        model = torch.load(path, weights_only=False)
        return not any(isinstance(one, torch.nn.BatchNorm2d) for one in model.modules())


def test_every_example_is_listed_and_every_listed_one_is_there() -> None:
    listed = set(re.findall(r"\]\(([a-z_.-]+)\)", (_EXAMPLES / "README.md").read_text()))

    assert listed == {one.name for one in _EXAMPLES.iterdir() if one.is_file()} - {"README.md"}


def test_the_plain_shell_fuses_with_curl_alone(workspace: Workspace) -> None:
    done = workspace.run("sh", _EXAMPLES / "fuse.sh", "best.pt", "out put.pt", "max_error=0.01", "strict=true")

    assert done.returncode == 0, done.stderr
    assert workspace.is_fused("out put.pt")
    assert sorted(one.name for one in workspace.directory.iterdir()) == ["best.pt", "out put.pt"]
    assert done.stdout.startswith("#")


@pytest.mark.parametrize("name", ['be"s;t,=.pt', "be st @größe.pt", "a\\b.pt"])
def test_the_plain_shell_takes_names_with_letters_that_curl_reads_as_its_own(workspace: Workspace, name: str) -> None:
    (workspace.directory / "best.pt").rename(workspace.directory / name)

    done = workspace.run("sh", _EXAMPLES / "fuse.sh", name, "out.pt")

    assert done.returncode == 0, done.stderr
    assert workspace.is_fused("out.pt")


def test_the_plain_shell_does_not_try_again_for_a_file_that_is_not_there(workspace: Workspace) -> None:
    missing = workspace.run("sh", _EXAMPLES / "fuse.sh", "no-such.pt", "out.pt")

    assert (missing.returncode, missing.stderr) == (1, "fuse.sh: no-such.pt can't be read\n")


def test_the_plain_shell_tells_the_problem(workspace: Workspace) -> None:
    (workspace.directory / "notes.pt").write_text("These are notes.")

    failed = workspace.run("sh", _EXAMPLES / "fuse.sh", "notes.pt", "out.pt")
    refused = workspace.run("sh", _EXAMPLES / "fuse.sh", "best.pt", "out.pt", "max_error=much")

    assert (failed.returncode, refused.returncode) == (1, 1)
    assert "unsupported-format" in failed.stderr
    assert "invalid-option" in refused.stderr
    assert not (workspace.directory / "out.pt").exists()


def test_the_plain_shell_goes_on_over_breaks(workspace: Workspace, large: Path, through: Callable[..., Proxy]) -> None:
    proxy = through(Cut(up=1_000_000), Cut(), Cut(), Cut(down=1_000_000))

    done = workspace.run("sh", _EXAMPLES / "fuse.sh", large, "out.pt", FUSEBOX_URL=proxy.url)

    assert done.returncode == 0, done.stderr
    assert workspace.is_fused("out.pt")
    assert any(b"Range: bytes=" in head for head in proxy.heads)


class Workflow:
    """A GitHub Actions workflow as far as bash can run it: the `run:` lines of its one job."""

    def __init__(self, workspace: Workspace) -> None:
        document = yaml.safe_load((_EXAMPLES / "github-actions.yml").read_text())
        (self.job,) = document["jobs"].values()
        self.workspace = workspace
        self.summary, self.output = workspace.directory / "summary.md", workspace.directory / "output"
        for file in (self.summary, self.output):
            file.touch()

    def step(self, name: str, **changed: str) -> Done:
        """As a runner does it: bash -e, with the job's environment."""
        (line,) = (one["run"] for one in self.job["steps"] if one.get("name") == name)
        environment = {name: "" if "${{" in value else value for name, value in self.job["env"].items()}
        own = {"GITHUB_STEP_SUMMARY": str(self.summary), "GITHUB_OUTPUT": str(self.output)}
        url = self.workspace.environment["FUSEBOX_URL"]
        environment |= own | {"FUSEBOX_URL": url} | changed
        return self.workspace.run("bash", "-e", "-c", line, **environment)


def test_the_github_actions_job_leaves_file_summary_and_outputs(workspace: Workspace) -> None:
    (workspace.directory / "weights").mkdir()
    shutil.move(workspace.directory / "best.pt", workspace.directory / "weights" / "best.pt")
    workflow = Workflow(workspace)

    # It is installed already: nothing is fetched.
    installed = workflow.step("Install the client", PIP_NO_INDEX="1")
    fused = workflow.step("Fuse")
    told = workflow.step("Tell the next steps what came out")

    assert installed.returncode == 0, installed.stderr
    assert (fused.returncode, told.returncode) == (0, 0), fused.stderr + told.stderr
    assert workspace.is_fused("weights/best.fused.pt")
    assert "0 of 1 batch norms left" in workflow.summary.read_text()
    digest = hashlib.sha256((workspace.directory / "weights/best.fused.pt").read_bytes()).hexdigest()
    assert workflow.output.read_text() == f"path=weights/best.fused.pt\nsha256={digest}\n"
    assert json.loads((workspace.directory / "fusebox/report.json").read_text())["output"]["sha256"] == digest
    assert all(step.get("run") or "@v" in step["uses"] for step in workflow.job["steps"])


def test_the_github_actions_job_stops_and_says_why_where_it_fails(workspace: Workspace) -> None:
    (workspace.directory / "notes.pt").write_text("These are notes.")
    workflow = Workflow(workspace)

    assert workflow.step("Fuse", MODEL="notes.pt").returncode == 1
    assert "`unsupported-format`" in workflow.summary.read_text()


def test_the_mlflow_run_holds_file_report_figures_and_tags(workspace: Workspace) -> None:
    runs = workspace.directory / "mlruns"

    done = workspace.run(
        *(_PYTHON, _EXAMPLES / "mlflow_fuse.py", "best.pt"),
        MLFLOW_TRACKING_URI=f"file:{runs}",
        MLFLOW_ALLOW_FILE_STORE="true",
    )

    assert done.returncode == 0, done.stderr
    (run,) = (path.parent for path in runs.glob("*/*/artifacts"))
    assert workspace.is_fused(str((run / "artifacts/fused/best.fused.pt").relative_to(workspace.directory)))
    report = json.loads((run / "artifacts/fused/report.json").read_text())
    assert "Equivalent" in (run / "artifacts/fused/report.md").read_text()
    assert _metric(run, "fusebox.batch_norms_after") == 0
    assert _metric(run, "fusebox.error_native") == report["equivalence"]["native"]["relative"]
    assert (run / "tags/fusebox.output_sha256").read_text() == report["output"]["sha256"]


def _metric(run: Path, name: str) -> float:
    return float((run / "metrics" / name).read_text().split()[1])


_DAG = """
from airflow.sdk import DAG
from airflow_fuse import FuseOperator
with DAG("fuse_dag", schedule=None):
    FuseOperator(task_id="fuse", model={model!r}, fused={fused!r}, options={{"max_error": 1e-2}}, demands={demands})
"""


@pytest.mark.parametrize(("demands", "kept"), [({"no_batch_norms": True}, True), ({"layers": 99}, False)])
def test_the_airflow_task_defers_and_collects(workspace: Workspace, demands: dict[str, Any], kept: bool) -> None:
    home = workspace.directory / "airflow"
    (home / "dags").mkdir(parents=True)
    model, fused = (str(workspace.directory / name) for name in ("best.pt", "fused.pt"))
    (home / "dags" / "fuse_dag.py").write_text(_DAG.format(model=model, fused=fused, demands=demands))
    own = {"AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}

    for line in ("db migrate", "dags reserialize"):
        done = workspace.run(_PYTHON, "-m", "airflow", *line.split(), **own)
        assert done.returncode == 0, done.stdout + done.stderr
    done = workspace.run(_PYTHON, "-m", "airflow", "dags", "test", "fuse_dag", **own)

    said = done.stdout + done.stderr
    assert workspace.is_fused("fused.pt") is kept, said
    assert ("99 demanded" in said) is not kept


def test_the_dvc_stage_makes_its_output_and_its_metrics(workspace: Workspace) -> None:
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(_EXAMPLES / name, workspace.directory)
    stage = _resolved(yaml.safe_load((_EXAMPLES / "dvc.yaml").read_text())["stages"]["fuse"])

    lines = ["dvc init --no-scm -q", "dvc repro"] if _REAL else [stage["cmd"]]
    for line in lines:
        done = workspace.run(*shlex.split(line))
        assert done.returncode == 0, done.stdout + done.stderr

    assert stage["deps"] == ["best.pt"]
    (out,), (metrics,) = stage["outs"], stage["metrics"]
    assert workspace.is_fused(out)
    summary = json.loads((workspace.directory / next(iter(metrics))).read_text())["summary"]
    assert summary["batch_norms_after"] == 0
    if _REAL:
        shown = json.loads(workspace.run("dvc", "metrics", "show", "--json").stdout)
        figures = shown[""]["data"][next(iter(metrics))]["data"]["summary"]
        assert figures == {name: value for name, value in summary.items() if value is not None}


def _resolved(stage: Any) -> Any:
    """DVC's templating, for what the example uses of it: `${group.name}`."""
    parameters = yaml.safe_load((_EXAMPLES / "params.yaml").read_text())

    def value(found: re.Match[str]) -> str:
        group, name = found[1].split(".")
        return str(parameters[group][name])

    return json.loads(re.sub(r"\$\{([a-z_.]+)\}", value, json.dumps(stage)))
