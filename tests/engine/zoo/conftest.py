"""The packages, where they are installed; all other tests of this folder need neither."""

from importlib.util import find_spec
from types import ModuleType

import pytest

from app.engine.zoo.operators import defined


@pytest.fixture(scope="session")
def timm() -> ModuleType:
    return _package("timm")


@pytest.fixture(scope="session")
def torchvision() -> ModuleType:
    return _package("torchvision")


def _package(name: str) -> ModuleType:
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed: requirements/zoo.txt has it")
    defined()
    return pytest.importorskip(name)
