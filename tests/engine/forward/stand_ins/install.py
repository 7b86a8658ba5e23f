"""Puts stand-ins where pickles of the published code look for their classes."""

import sys
from types import ModuleType

import pytest

from tests.engine.forward.stand_ins import acnet, dbb, mobileone, orepa, replknet, repvgg, unireplknet

_FAMILIES = (acnet, dbb, mobileone, orepa, replknet, repvgg, unireplknet)
_CLASSES = {path: classes for family in _FAMILIES for path, classes in family.CLASSES.items()}


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classes in their deployed form, written from the papers: no branch of the training form has a class here."""
    for path, classes in _CLASSES.items():
        for end in (at for at, letter in enumerate(path) if letter == "."):
            monkeypatch.setitem(sys.modules, path[:end], ModuleType(path[:end]))
        module = ModuleType(path)
        for cls in classes:
            setattr(module, cls.__name__, cls)
        monkeypatch.setitem(sys.modules, path, module)
