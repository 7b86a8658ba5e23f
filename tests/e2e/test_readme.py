"""What the README tells to type is typed here, against a real service."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from tests.docs.pages import ROOT, blocks_of, lines_of
from tests.e2e.conftest import Server

_PAGES = (ROOT / "README.md", ROOT / "docs/options.md")
_SMALL = ROOT / "tests/data/yolov7-blocks/RepConv_identity.pt"


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A directory with the files that the README speaks of."""
    shutil.copy(_SMALL, tmp_path / "yolov7.pt")
    maps = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, 4, 4]) for name in ("x", "y")]
    names = ("scale", "shift", "mean", "variance")
    weights = [helper.make_tensor(name, TensorProto.FLOAT, [2], [1.5, 0.5]) for name in names]
    weights.append(helper.make_tensor("weight", TensorProto.FLOAT, [2, 2, 1, 1], [1.0, 2.0, 3.0, 4.0]))
    nodes = [
        helper.make_node("Conv", ["x", "weight"], ["inner"]),
        helper.make_node("BatchNormalization", ["inner", *names], ["y"]),
    ]
    graph = helper.make_graph(nodes, "small", maps[:1], maps[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "model.onnx")
    return tmp_path


def _run(server: Server, desk: Path, *line: str) -> str:
    """Standard output of a command that must do well."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("FUSEBOX_")}
    own = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "FUSEBOX_URL": server.url,
        "FUSEBOX_KEY": "none",
    }
    done = subprocess.run(
        line,
        cwd=desk,
        env=plain | own,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    assert "urn:fusebox:problem" not in done.stdout, line
    return done.stdout


def _here(server: Server, text: str) -> str:
    for elsewhere in ("http://localhost:8000", "https://fuse.example.org"):
        text = text.replace(elsewhere, server.url)
    return text.replace(".venv/bin/", "")


@pytest.mark.parametrize("document", _PAGES, ids=["README.md", "docs/options.md"])
def test_each_line_of_shell_does_what_it_says(server: Server, desk: Path, document: Path) -> None:
    job = server.upload(_SMALL)
    assert server.job(job, wait=60)["state"] == "succeeded"
    lines = [line for line in lines_of(document) if line.startswith(("curl ", "fusebox", ".venv/bin/fusebox"))]
    assert len(lines) >= 3

    for line in lines:
        _run(server, desk, "sh", "-c", _here(server, line).replace("/v1/jobs/ID", f"/v1/jobs/{job}"))

    assert (desk / "yolov7.fused.pt").stat().st_size > 1000


def test_the_lines_of_python_do_what_they_say(server: Server, desk: Path) -> None:
    (program,) = blocks_of(ROOT / "README.md", "python")

    assert _run(server, desk, sys.executable, "-c", _here(server, program)) == "0\n"
    assert (desk / "yolov7.fused.pt").exists()
