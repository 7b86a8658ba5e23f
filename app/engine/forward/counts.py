"""Counts without which no runtime can run a window: groups, strides, dilations."""

from collections.abc import Sequence

from app.errors import UnsupportedContent


def check_counts(path: str, operator: str, **counts: Sequence[int]) -> None:
    """Raises UnsupportedContent for an operator at `path` of which one of these is below 1."""
    for name, values in counts.items():
        if min(values, default=1) < 1:
            raise UnsupportedContent(
                f"{path}: {operator} has {name} {[*values][:5]}, and they are whole numbers from 1 on",
                remedy="No runtime can run such an operator: mend it, and export the model again.",
                layer=path,
            )
