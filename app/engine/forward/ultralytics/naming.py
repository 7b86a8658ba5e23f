"""Class paths of Ultralytics' package: releases up to 8.0.60 had all modules in one file."""

from typing import Any

from app.engine.forward.family import Describe, Family
from app.engine.forward.structure import has_children, maps


def paths(file: str, *names: str) -> tuple[str, ...]:
    """`ultralytics.nn.modules.conv.Conv` and `ultralytics.nn.modules.Conv`."""
    return tuple(
        path for name in names for path in (f"ultralytics.nn.modules.{file}.{name}", f"ultralytics.nn.modules.{name}")
    )


def described(
    describe: Describe, children: tuple[str, ...], file: str, *names: str, multiple: int = 1, **more: Any
) -> tuple[Family, ...]:
    """Classes of one file that compute the same and must have these children."""
    return tuple(
        Family(
            f"Ultralytics {name}",
            paths(file, name),
            describe,
            lambda module: has_children(module, *children),
            example_shapes=maps(multiple),
            **more,
        )
        for name in names
    )
