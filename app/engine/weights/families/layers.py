"""What the blocks of all families are made of: convolutions whose groups follow from shapes, norms, sequences."""

from app.engine.algebra import Geometry
from app.engine.forward.structure import below
from app.engine.ir.module import Module
from app.engine.ir.tensors import StoredTensor
from app.engine.weights.dress import dress, dress_convolution, dress_norm
from app.errors import ArchitectureMismatch

SEQUENTIAL = ("torch.nn.modules.container", "Sequential")
MODULE_LIST = ("torch.nn.modules.container", "ModuleList")
IDENTITY = ("torch.nn.modules.linear", "Identity")
RELU = ("torch.nn.modules.activation", "ReLU")
GELU = ("torch.nn.modules.activation", "GELU")


def weight_of(module: Module) -> StoredTensor:
    """The weight of a 2-d convolution. Raises ArchitectureMismatch."""
    weight = module.tensor("weight")
    if weight is None or len(weight.shape) != 4 or 0 in weight.shape:
        raise misshapen(module, "weight", "(out, in / groups, height, width)")
    return weight


def groups_of(weight: StoredTensor, incoming: int | None) -> int:
    """How many groups take so many channels in; where that is not known or does not fit, one, which folds alike."""
    if incoming is None or incoming % weight.shape[1]:
        return 1
    groups = incoming // weight.shape[1]
    return groups if groups and weight.shape[0] % groups == 0 else 1


def convolve(module: Module, groups: int, padding: tuple[int, ...] | None = None) -> None:
    """A 2-d convolution of stride 1, whose output is as large as its input unless another padding is given."""
    weight = weight_of(module)
    if weight.shape[0] % groups:
        raise misshapen(module, "weight", f"of {groups} groups")
    sides = padding if padding is not None else tuple(size // 2 for size in weight.shape[2:])
    dress_convolution(module, Geometry((1, 1), tuple((side, side) for side in sides), (1, 1), groups))


def normalise(module: Module, eps: float, channels: int) -> None:
    for name in ("weight", "bias", "running_mean", "running_var"):
        stored = module.tensor(name)
        if stored is None or stored.shape != (channels,):
            raise misshapen(module, name, f"({channels},)")
    dress_norm(module, eps, dims=2)


def layer(block: Module, path: str) -> Module:
    """A layer of a block that is known to be there."""
    found = below(block, path)
    assert found is not None
    return found


def conv_bn(sequence: Module, groups: int, eps: float, names: tuple[str, str] = ("conv", "bn")) -> int:
    """A sequence of a convolution and a batch norm; how many channels it puts out."""
    conv, norm = (layer(sequence, name) for name in names)
    convolve(conv, groups)
    channels = weight_of(conv).shape[0]
    normalise(norm, eps, channels)
    order(sequence, *names)
    dress(sequence, SEQUENTIAL)
    return channels


def branch(block: Module, name: str, groups: int, eps: float, channels: int) -> None:
    """A sequence of `conv` and `bn` that puts out so many channels."""
    sequence = layer(block, name)
    conv = layer(sequence, "conv")
    if weight_of(conv).shape[0] != channels:
        raise misshapen(conv, "weight", f"({channels}, ...)")
    conv_bn(sequence, groups, eps)


def order(module: Module, *names: str) -> None:
    """Let the children stand in the order in which a Sequential calls them, whatever the order of the file."""
    children = module.table("_modules")
    content = {name: children[name] for name in names if name in children}
    children.clear()
    children.update(content)


def misshapen(module: Module, name: str, wanted: str) -> ArchitectureMismatch:
    stored = module.tensor(name)
    shape = "not there" if stored is None else f"of shape {stored.shape}"
    return ArchitectureMismatch(
        f"{module.at(name)} is {shape}, and should be {wanted}",
        remedy="Check that the file belongs to this architecture.",
        shapes=[module.at(name)],
    )
