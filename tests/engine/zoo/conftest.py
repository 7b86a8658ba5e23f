"""The packages, where they are installed; all other tests of this folder need neither."""

from importlib.util import find_spec
from types import ModuleType

import pytest
import torch

# torchvision registers shapes for operators of its compiled part, which does not load beside a torch of another build
# (CUDA wheels beside a CPU torch). Its models need none of them.
_OPERATORS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@pytest.fixture(scope="session")
def timm() -> ModuleType:
    return _package("timm")


@pytest.fixture(scope="session")
def torchvision() -> ModuleType:
    return _package("torchvision")


def _package(name: str) -> ModuleType:
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed: make test-zoo")
    if not _LIBRARY:
        _define_missing()
    return pytest.importorskip(name)


_LIBRARY: list[torch.library.Library] = []  # what it defines goes with it


def _define_missing() -> None:
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in _OPERATORS:
            library.define(f"{operator}{_SIGNATURE}")
        _LIBRARY.append(library)
