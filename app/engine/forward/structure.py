"""What a family asks of an inert module: has it these children, what shapes does it take."""

from collections.abc import Callable

from app.engine.forward.family import Shapes
from app.engine.ir.module import Module

_BATCH = 2
_WIDEST = 1 << 18  # channels or features of one input
# Odd and not square, and large enough for five halvings.
_MAPS: dict[int, tuple[int, ...]] = {0: (), 1: (67,), 2: (37, 33), 3: (11, 9, 7)}
_DIMENSIONS = {"1d": 1, "2d": 2, "3d": 3}


def has_children(module: Module, *names: str) -> bool:
    """Whether each of these children is there and is a module."""
    return all(module.child(name) is not None for name in names)


def only_children(module: Module, *names: str) -> bool:
    """Whether the module has no other children than these."""
    return all(name in names for name, _ in module.children())


def below(module: Module, path: str) -> Module | None:
    """The module at a dotted path below this one."""
    found: Module | None = module
    for name in path.split("."):
        found = found.child(name) if found is not None else None
    return found


def put(module: Module, path: str, node: object) -> None:
    """Set the child at a dotted path below the module."""
    above, _, name = path.rpartition(".")
    parent = below(module, above) if above else module
    assert parent is not None
    parent.table("_modules")[name] = node


def input_channels(module: Module) -> tuple[int, int] | None:
    """(channels, spatial dimensions) that the block itself, or else the first layer which states them, takes."""
    for part in module.walk():
        plain = part.class_path.startswith("torch.nn.modules.")
        for name in ("in_channels", "num_features", "in_features") if plain else ("in_channels",):
            channels = part.attribute(name, None)
            if type(channels) is int and 0 < channels <= _WIDEST:
                return channels, 0 if name == "in_features" else _DIMENSIONS.get(part.class_path[-2:], 2)
    return None


def maps(multiple: int = 1, divide: int = 1) -> Callable[[Module], Shapes | None]:
    """Example shapes of a block with one input: batch 2, real width, sizes a multiple of `multiple`.

    `divide` is by how much the block's input is narrower than its first convolution's (4 for Focus).
    """

    def shapes(module: Module) -> Shapes | None:
        taken = input_channels(module)
        if taken is None or taken[0] % divide:
            return None
        channels, dims = taken
        return ((_BATCH, channels // divide, *(-(-size // multiple) * multiple for size in _MAPS[dims])),)

    return shapes
