"""The program of a report really compares both files, in a process of its own."""

import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from app.engine.pipeline import fuse_checkpoint
from app.options import FuseOptions
from app.report import Report
from app.snippet import comparison_snippet
from tests.engine.graph_models import export, net, onnx_net
from tests.engine.nets import pair


def fused(source: Path, **options: Any) -> Report:
    target = source.with_name(f"{source.stem}.fused{source.suffix}")
    return fuse_checkpoint(source, target, FuseOptions(**options), filename=source.name)


def run(program: str, directory: Path) -> subprocess.CompletedProcess[str]:
    (directory / "compare.py").write_text(program)
    command = [sys.executable, "compare.py"]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


def source_of(kind: str, directory: Path) -> Path:
    path = directory / f"net.{kind}"
    if kind == "onnx":
        return onnx_net(net(), path)
    if kind == "pt2":
        return export(net(), path, torch.randn(2, 3, 32, 32))
    content = {"epoch": 3, "ema": net(), "model": net().half()} if kind == "pth" else net()
    torch.save(content, path)
    return path


@pytest.mark.parametrize("kind", ["pt", "pth", "onnx", "pt2"])
def test_it_says_that_the_outputs_are_the_same_and_that_those_of_another_model_are_not(tmp_path, kind):
    program = comparison_snippet(fused(source_of(kind, tmp_path)))
    ended = run(program, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "1 outputs, the largest difference is" in ended.stdout
    other = net()
    with torch.no_grad():
        other[3].weight.mul_(1.05)
    wrong = tmp_path / "other"
    wrong.mkdir()
    if kind == "onnx":
        onnx_net(other, tmp_path / f"net.fused.{kind}")
    elif kind == "pt2":
        export(other, tmp_path / f"net.fused.{kind}", torch.randn(2, 3, 32, 32))
    else:
        torch.save({"model": other} if kind == "pth" else other, tmp_path / f"net.fused.{kind}")
    ended = run(program, tmp_path)
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (1, "Not the same.")


def spoilt(model: nn.Sequential, value: float) -> nn.Sequential:
    """The net with one weight that makes a single channel of its output what it should not be."""
    other = deepcopy(model)
    with torch.no_grad():
        other[-1].bias[-1] = value
    return other


class Several(nn.Module):
    """A good output before a bad one."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x):
        return x, self.model(x), (self.model(x) > 0).long()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_output_that_is_no_number_any_more_is_not_taken_for_the_same(tmp_path, value):
    source = source_of("pt", tmp_path)
    program = comparison_snippet(fused(source))
    root = str(Path(__file__).parent.parent)
    program = program.replace("import sys\n", f"import sys; sys.path.insert(0, {root!r})\n")
    model = net()
    torch.save(Several(model), source)
    torch.save(Several(spoilt(model, value)), tmp_path / "net.fused.pt")
    ended = run(program, tmp_path)
    assert (ended.returncode, "inf of the output's size" in ended.stdout) == (1, True), ended.stderr
    torch.save(Several(spoilt(model, value)), source)
    ended = run(program, tmp_path)
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (0, "The same."), ended.stderr


def test_it_says_in_a_sentence_why_nothing_can_be_compared(tmp_path):
    source = source_of("pt", tmp_path)
    program = comparison_snippet(fused(source))
    other = program.replace("SHAPES = ((2, 3", "SHAPES = ((2, 5")
    torch.save(nn.Sequential(nn.Identity()), tmp_path / "other.pt")
    cases = {
        "net.pt is not here": (program.replace("'net.pt'", "'elsewhere/net.pt'"), "is not here"),
        "sizes": (other, "can't be run on inputs of ((2, 5"),
        "shapes": (program.replace("'net.fused.pt'", "'other.pt'"), "the outputs have other shapes"),
        "no file": (program.replace("'net.fused.pt'", "'compare.py'"), "compare.py can't be"),
    }
    for text, said in cases.values():
        ended = run(text, tmp_path)
        assert (ended.returncode, said in ended.stderr, "Traceback" in ended.stderr) == (1, True, False), ended.stderr


def test_classes_whose_code_is_not_there_are_named(tmp_path):
    name = "a_package_of_mine"
    (tmp_path / f"{name}.py").write_text("import torch\n\n\nclass Net(torch.nn.Sequential):\n    pass\n")
    make = f"import torch, {name}; torch.save({name}.Net(torch.nn.Identity()), 'net.pt')"
    subprocess.run([sys.executable, "-c", make], cwd=tmp_path, check=True)
    (tmp_path / f"{name}.py").unlink()
    program = comparison_snippet(fused(source_of("pth", tmp_path))).replace("'net.pth'", "'net.pt'")
    ended = run(program, tmp_path)
    assert (ended.returncode, "Traceback" in ended.stderr) == (1, False)
    assert f"net.pt can't be loaded here: ModuleNotFoundError: No module named '{name}'" in ended.stderr


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_of_weights_it_asks_for_the_model_and_then_compares(tmp_path, kind):
    from safetensors.torch import save_file

    model, source = net(), tmp_path / f"net.{kind}"
    save_file(model.state_dict(), source) if kind == "safetensors" else torch.save(model.state_dict(), source)
    program = comparison_snippet(fused(source, plan='{"pairs": [{"conv": "0", "norm": "1"}]}'))
    asked = run(program, tmp_path)
    assert asked.returncode == 1
    assert "how your code builds the model" in asked.stderr
    root = str(Path(__file__).parent.parent)
    own = f"sys.path.insert(0, {root!r}); from tests.engine.graph_models import net; return net()"
    line = next(line for line in program.splitlines() if "how your code builds" in line)
    ended = run(program.replace(line.strip(), own), tmp_path)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("kind", ["onnx", "safetensors"])
def test_archives_are_unpacked_first(tmp_path, kind):
    """Of several files one is compared that came in an archive: what the program does with it is seen in its text."""
    report = fused(source_of("onnx", tmp_path))
    detected = report.input.detected.model_copy(update={"model_class": "state dict"})
    given = report.input.model_copy(update={"format": f"{kind}-zip", "detected": detected})
    program = comparison_snippet(report.model_copy(update={"input": given}))
    compile(program, "compare.py", "exec")
    assert "import zipfile" in program
    assert f'rglob("*.{kind}")' in program


def test_names_from_a_file_stay_texts(tmp_path):
    source = tmp_path / "net.pt"
    torch.save(nn.Sequential(pair(nn.Conv2d(3, 4, 3))).eval(), source)
    report = fused(source)
    evil = "x'\nraise SystemExit('taken over')\n\"\"\"\n#.pt"
    detected = report.input.detected.model_copy(update={"model_class": evil, "source": evil, "prefix": evil})
    for model_class in (evil, "state dict"):
        changed = detected.model_copy(update={"model_class": model_class})
        given = report.input.model_copy(update={"filename": evil, "detected": changed})
        output = report.output.model_copy(update={"filename": evil})
        program = comparison_snippet(report.model_copy(update={"input": given, "output": output}))
        assert not any(line.startswith("raise") for line in program.splitlines())
        compile(program, "compare.py", "exec")


def test_packages_that_are_known_build_their_models(tmp_path):
    source = tmp_path / "net.pth"
    torch.save(net().state_dict(), source)
    report = fused(source, plan='{"pairs": [{"conv": "0", "norm": "1"}]}')
    for family, call in (("torchvision", "torchvision.models.get_model('resnet18'"), ("timm", "timm.create_model(")):
        update = {"family": family, "variant": "resnet18", "classes": 10}
        detected = report.input.detected.model_copy(update=update)
        given = report.input.model_copy(update={"detected": detected})
        program = comparison_snippet(report.model_copy(update={"input": given}))
        assert call in program
        assert "num_classes=10" in program
