"""What a family asks of an inert module: has it these children, what shapes does it take."""

from collections.abc import Callable
from math import prod

from app.engine.forward.computed_weights import weight_or_part
from app.engine.forward.family import Shapes
from app.engine.ir.module import Module, identity_node
from app.engine.ir.node import Global, Object

_BATCH = 2
_WIDEST = 1 << 18  # channels or features of one input
# Odd and not square, and large enough for five halvings.
_MAPS: dict[int, tuple[int, ...]] = {0: (), 1: (67,), 2: (37, 33), 3: (11, 9, 7)}
_LARGEST = 1 << 14  # positions; a kernel that needs a larger map is not tried
_CONVOLUTIONS = tuple(f"torch.nn.modules.conv.Conv{dims}d" for dims in (1, 2, 3))
_BATCH_NORMS = "torch.nn.modules.batchnorm."
_INSTANCE_NORMS = "torch.nn.modules.instancenorm."
_NUMBERING = ("i", "f", "type", "np")  # what parsers of YOLO configurations set on every layer
_DIMENSIONS = {"1d": 1, "2d": 2, "3d": 3}
_SEQUENTIAL = Global("torch.nn.modules.container", "Sequential")


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


def become_sequential(module: Module, **children: object) -> None:
    """A torch.nn.Sequential of these children, with the block's other attributes: no loader's fuse() looks into one."""
    table = module.table("_modules")
    table.clear()
    table.update(children)
    module.state.pop("forward", None)
    module.set_class(_SEQUENTIAL)


def silence(module: Module, path: str) -> None:
    """Put an identity in the place of the child at a dotted path: what it did is done elsewhere."""
    put(module, path, identity_node(bool(module.attribute("training", False))))


def become(module: Module, node: Object) -> None:
    """Make the module what `node` is, in its place; where a model's parser numbered its layers, the numbers stay."""
    numbering = {name: module.state[name] for name in _NUMBERING if name in module.state}
    here = module.node
    here.origin, here.args, here.how, here.kwargs = node.origin, node.args, node.how, node.kwargs
    here.state = {**node.state, **numbering}


def is_batch_norm(module: Module) -> bool:
    """A batch norm of torch, or a class of another package that keeps the same statistics."""
    if module.class_path.startswith(_BATCH_NORMS):
        return True
    buffers = module.table("_buffers")
    kept = "running_mean" in buffers and "running_var" in buffers
    return kept and not module.class_path.startswith(_INSTANCE_NORMS)


def is_convolution(module: Module) -> bool:
    """A convolution of torch, or a class of another package with the same weight and geometry."""
    if module.class_path.startswith("torch.nn.modules.conv."):
        return True
    weight = module.tensor("weight")
    stated = all(module.has(name) for name in ("kernel_size", "stride", "dilation", "groups"))
    return stated and weight is not None and len(weight.shape) in (3, 4, 5)


def input_channels(module: Module) -> tuple[int, int] | None:
    """(channels, spatial dimensions) that the block itself, or else the first layer which states them, takes."""
    for part in module.walk():
        plain = part.class_path.startswith("torch.nn.modules.")
        for name in ("in_channels", "num_features", "in_features") if plain else ("in_channels",):
            channels = part.attribute(name, None)
            if type(channels) is int and 0 < channels <= _WIDEST:
                return channels, 0 if name == "in_features" else _DIMENSIONS.get(part.class_path[-2:], 2)
    return None


def _sizes(module: Module, dims: int) -> tuple[int, ...]:
    """The usual sizes; where the first convolution spans more than that (audio), a little more than its span."""
    first = next((part for part in module.walk() if part.class_path in _CONVOLUTIONS), None)
    spans = _spans(first) if first is not None else ()
    if len(spans) != dims:
        return _MAPS[dims]
    sizes = tuple(size if span <= size else span + size // 4 for size, span in zip(_MAPS[dims], spans, strict=True))
    return sizes if prod(sizes) <= _LARGEST else _MAPS[dims]


def _spans(convolution: Module) -> tuple[int, ...]:
    """From the first tap to the last one, for each dimension; none where the layer does not say it."""
    weight, dilation = weight_or_part(convolution), convolution.attribute("dilation", 1)
    kernel = weight.shape[2:] if weight is not None else ()
    steps = dilation if isinstance(dilation, tuple) else (dilation,) * len(kernel)
    if len(steps) != len(kernel) or not all(isinstance(step, int) for step in steps):
        return ()
    return tuple(step * (size - 1) + 1 for step, size in zip(steps, kernel, strict=True))


def maps(multiple: int = 1, divide: int = 1) -> Callable[[Module], Shapes | None]:
    """Example shapes of a block with one input: batch 2, real width, sizes a multiple of `multiple`.

    `divide` is by how much the block's input is narrower than its first convolution's (4 for Focus).
    """

    def shapes(module: Module) -> Shapes | None:
        taken = input_channels(module)
        if taken is None or taken[0] % divide:
            return None
        channels, dims = taken
        sizes = (-(-size // multiple) * multiple for size in _sizes(module, dims))
        return ((_BATCH, channels // divide, *sizes),)

    return shapes


def out_features(linear: Module | None) -> int | None:
    """How many outputs a Linear has: the number of classes, where it is a model's last layer."""
    weight = linear.tensor("weight") if linear is not None else None
    return weight.shape[0] if weight is not None and len(weight.shape) == 2 else None
