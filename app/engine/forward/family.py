"""What a published family is: the classes it has, how one recognises them, what they compute, how they are deployed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from app.engine.ir.module import Module

if TYPE_CHECKING:  # a description is written for the tracer, the tracer looks descriptions up
    from app.engine.forward.trace import Block, Ops

Describe = Callable[["Block", Any, "Ops"], Any]
Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a deployed block for one convolution, and the parts of the training form that it stands for."""

    name: str  # attribute path below the block: `rbr_reparam`, `m.0`
    consumes: tuple[str, ...]  # paths below the block: `rbr_dense`, `rbr_1x1`, `rbr_identity`
    from_input: bool = False  # and what the block's own code does with its input before (a crop)


@dataclass(frozen=True, slots=True)
class DeployForm:
    """How the authors' class keeps fused convolutions.

    The engine fuses each slot's region and hands the fused convolutions over: `write(block, convolutions)` gets
    ready-made module nodes by slot name and edits the block in place, for example it puts the node under
    `rbr_reparam` and the branches to None. It is called only if at least one slot was fused; a slot that could not
    be fused is missing from the mapping. The written block must have a description too (it is read back and run),
    and must survive the family's own loader.
    """

    slots: Callable[[Module], tuple[Slot, ...]]
    write: Callable[[Module, Mapping[str, Any]], None]
    all_or_nothing: bool = False  # the form exists only if every slot was fused
    # True: blocks inside belong to this block's slots, even those with a deploy form (OREPA's ConvBN).
    # False: they keep their own form, and the slots are for what lies around them (RobustConv's depthwise Conv).
    absorbs: bool = True
    # One layer's numbers go to several slots, each of which the description gives its share: a graph of the operators
    # as they run has them once, and can't fill these slots.
    spread: bool = False
    # What is written has names that no form of the class itself has: modules can become so, the package's own model
    # can't be brought to load such tensors.
    renames: bool = False


@dataclass(frozen=True, slots=True)
class Members:
    """The names of the attributes, parameters, buffers and children that instances of a class have."""

    always: tuple[str, ...]
    sometimes: tuple[str, ...] = ()

    def are_those_of(self, module: Module) -> bool:
        """Whether the module has each of the first, and nothing but these and what every torch.nn.Module has."""
        there = set(module.member_names())
        return there >= set(self.always) and there <= {*self.always, *self.sometimes}

    def more_than_those(self, module: Module) -> set[str]:
        """What the module has besides."""
        return {*module.member_names()} - {*self.always, *self.sometimes}


@dataclass(frozen=True, slots=True)
class PrunedLayer:
    """A layer that inference never reads and that was taken out."""

    path: str
    reason: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Family:
    """One class (or several that compute the same) of one code base.

    `read_as` is what the report says: "YOLOv7 RepConv". `class_paths` are exact. `fits` checks the structure that the
    description needs, on the inert module. `defaults` are class attributes and attributes that later versions added,
    which an inert node may lack. `example_shapes` gives the input shapes with which a block alone can be tried (batch
    2, real width, odd non-square maps where it can), `stride` the multiple that spatial sizes must have.
    """

    read_as: str
    class_paths: tuple[str, ...]
    describe: Describe
    fits: Callable[[Module], bool] = lambda module: True
    defaults: Mapping[str, Any] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()  # methods that an instance attribute `forward` may be bound to (`fuseforward`)
    deploy: DeployForm | None = None
    example_shapes: Callable[[Module], Shapes | None] = lambda module: None
    # What can be said of a whole model: {"family": "YOLOv7", "classes": 80, "stride": 32, "channels": 3}
    facts: Callable[[Module], Mapping[str, Any]] | None = None
    # Takes out what inference never reads and renumbers what is left; called after all slots were written.
    prune: Callable[[Module], Sequence[PrunedLayer]] | None = None
    # The dtype that the family's own loader runs in; None: the dtype that is stored.
    runs_in: str | None = None
    # Set where class name and members leave no doubt: then a class of that name and exactly these members is read as
    # this family under any other module path, too, and what rests on it is marked as assumed.
    members: Members | None = None
    assumed: bool = False  # this reading rests on the members, not on the class path
    # Parameters, buffers and children that its forward does not read in evaluation: what only training needs.
    idle: tuple[str, ...] = ()
    leaf: bool = False  # a plain torch.nn layer: one operator, or an activation; may be fused along a chain of layers
    # What stays of a leaf whose linear operator went into a neighbour (the activation of a norm); None: nothing.
    leftover: Callable[[Module], Any] | None = None
    # A leaf that does more than its convolution (pads by the input's size): fused, it keeps class and geometry.
    keeps_class: bool = False

    @property
    def altered(self) -> "Family":
        """The family, of a class at its own path whose instances hold more attributes than the published one's."""
        return replace(self, assumed=True, read_as=f"{self.read_as}, with attributes of its own")
