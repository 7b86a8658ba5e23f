"""A class under a published path that has a member more is another class: what the member does can't be seen."""

import lzma
from pathlib import Path

import pytest
import torch

from app.engine.ir.module import Module, module_node
from app.engine.ir.tensors import buffer, parameter
from app.engine.pipeline import fuse_checkpoint
from app.options import FuseOptions
from app.report import Report
from tests.engine.forward.published import edited

_DATA = Path(__file__).resolve().parents[2] / "data"
_FILES = (
    *(
        "acnet/blocks",
        "dbb/blocks",
        "mobileone/model",
        "orepa/blocks",
        "orepa/large",
        "orepa-nets/resnet",
        "repvgg/plus",
    ),
    *("qarepvgg/blocks", "replknet/model", "unireplknet/model", "lora/linear", "lora/loralib_conv", "mmcv/blocks"),
    *("mobile/fastvit", "mobile/ghostnetv3", "mobile/levit", "mobile/nextvit", "mobile/repvit", "rtdetr/blocks"),
    *("timm/efficientnet_same", "timm/mobileone", "timm/ghostv3", "timm/levit", "timm/resnet", "timm/vgg"),
    *("torchvision/resnet_basic", "torchvision/googlenet", "torchvision/densenet"),
    *("ultralytics/yolo11", "ultralytics/yolov10", "ultralytics/yolov8-seg", "yolov5/yolov5", "yolov9/gelan"),
    *("yolov6/yolov6n", "yolov6/yolov6-lite", "yolov7-blocks/RobustConv", "yolov7-blocks/RepConv_identity"),
    *("yolov7-blocks/IDetect", "yolox/yolox-nano"),
)


def _unpacked(name: str, folder: Path) -> Path:
    path = _DATA / f"{name}.pt"
    if path.exists():
        return path
    target = folder / "original.pt"
    target.write_bytes(lzma.decompress(path.with_suffix(".pt.xz").read_bytes()))
    return target


def _own(model: Module) -> list[Module]:
    """The modules whose classes are not torch's."""
    return [part for part in model.walk() if not part.class_path.startswith("torch.")]


def _weigh(model: Module) -> None:
    for part in _own(model):
        part.table("_parameters")["alpha"] = parameter(torch.ones(1), location="cpu", owned=True)


def _act(model: Module) -> None:
    for part in _own(model):
        part.table("_modules")["after"] = module_node(
            ("torch.nn.modules.activation", "ReLU"), training=False, attributes={"inplace": False}
        )


def _hang_on(model: Module) -> None:
    """What does nothing in evaluation."""
    for part in _own(model):
        dropout = module_node(
            ("torch.nn.modules.dropout", "Dropout"), training=False, attributes={"p": 0.1, "inplace": False}
        )
        empty = module_node(
            ("torch.nn.modules.container", "ModuleList"), training=False, modules={"0": dropout, "1": dropout}
        )
        part.table("_modules")["more"] = empty
        part.table("_buffers")["nothing"] = None


def _fused(path: Path, folder: Path, **options: bool) -> Report:
    return fuse_checkpoint(path, folder / "fused.pt", FuseOptions(**options), filename=path.name)


@pytest.mark.parametrize("edit", [_weigh, _act])
@pytest.mark.parametrize("name", _FILES)
def test_what_has_a_member_that_its_class_does_not_read_is_not_fused_as_that_class(
    name: str, edit: object, tmp_path: Path
) -> None:
    assert callable(edit)
    changed, _ = edited(_unpacked(name, tmp_path), tmp_path / "changed.pt", edit)

    report = _fused(changed, tmp_path)

    known = [part for part in report.replaced if not part.assumed]
    assert not known, known[:3]
    assert not _fused(changed, tmp_path, strict=True).replaced


@pytest.mark.parametrize("name", ["mmcv/blocks", "torchvision/googlenet", "yolov7-blocks/RepConv_identity"])
def test_what_does_nothing_in_evaluation_may_be_there(name: str, tmp_path: Path) -> None:
    original = _unpacked(name, tmp_path)
    hung_on, _ = edited(original, tmp_path / "hung_on.pt", _hang_on)

    plain, found = _fused(original, tmp_path), _fused(hung_on, tmp_path)

    assert found.replaced
    assert [part.path for part in found.replaced] == [part.path for part in plain.replaced]


def test_a_layer_of_torch_computes_what_torch_says_whatever_hangs_on_it(tmp_path: Path) -> None:
    def mark(model: Module) -> None:
        for part in model.walk():
            if part.class_path.endswith(".Conv2d"):
                part.table("_buffers")["mask"] = parameter(torch.ones(1), location="cpu", owned=True)

    marked, _ = edited(_unpacked("torchvision/resnet_basic", tmp_path), tmp_path / "marked.pt", mark)

    assert _fused(marked, tmp_path).summary.batch_norms_after == 0


def test_the_reason_names_the_member(tmp_path: Path) -> None:
    def weigh_one(model: Module) -> str:
        block = next(part for part in _own(model) if part.class_path == "models.common.Conv")
        block.table("_parameters")["alpha"] = parameter(torch.ones(1), location="cpu", owned=True)
        return block.path

    changed, path = edited(_unpacked("yolov5/yolov5", tmp_path), tmp_path / "changed.pt", weigh_one)

    report = _fused(changed, tmp_path)

    assert path not in {part.path for part in report.replaced}
    assert report.replaced
    assert any(f"{path}.alpha" in refused.reason for refused in report.refused)


def _scale(model: Module) -> None:
    for part in _own(model):
        part.state["alpha"] = 0.5


def _keep_tensor(model: Module) -> None:
    for part in _own(model):
        part.state["alpha"] = [buffer(torch.ones(1), owned=True)]


def _keep_layer(model: Module) -> None:
    for part in _own(model):
        layer = module_node(("torch.nn.modules.activation", "ReLU"), training=False, attributes={"inplace": False})
        part.state["more"] = {"after": layer}


@pytest.mark.parametrize("edit", [_scale, _keep_tensor, _keep_layer])
@pytest.mark.parametrize(
    "name",
    [
        *("mmcv/blocks", "timm/mobileone", "timm/resnet", "torchvision/resnet_basic", "ultralytics/yolov8-seg"),
        *("yolov6/yolov6n", "yolov7-blocks/RepConv_identity", "yolox/yolox-nano", "repvgg/plus"),
    ],
)
def test_an_attribute_that_may_count_and_that_nothing_read_is_no_proof_of_the_published_class(
    name: str, edit: object, tmp_path: Path
) -> None:
    assert callable(edit)
    changed, _ = edited(_unpacked(name, tmp_path), tmp_path / "changed.pt", edit)

    report = _fused(changed, tmp_path)

    assert report.replaced
    assert all(part.assumed for part in report.replaced)
    assert any(part.read_as.endswith("with attributes of its own") for part in report.read_as)
    assert not _fused(changed, tmp_path, strict=True).replaced


@pytest.mark.parametrize("name", ["repvgg/model", "qarepvgg/blocks"])
def test_a_member_that_the_published_class_may_have_is_not_passed_over_where_another_layer_stands_in_it(
    name: str, tmp_path: Path
) -> None:
    def act_in_drop_path(model: Module) -> set[str]:
        blocks = [part for part in model.walk() if "RepVGGBlock" in part.class_path]
        for block in blocks:
            block.table("_modules")["drop_path"] = module_node(
                ("torch.nn.modules.activation", "ReLU"), training=False, attributes={"inplace": False}
            )
        return {block.path for block in blocks}

    changed, paths = edited(_unpacked(name, tmp_path), tmp_path / "changed.pt", act_in_drop_path)

    report = _fused(changed, tmp_path)

    assert paths
    assert not paths & {part.path for part in report.replaced}
