"""From regions to replacements, and from replacements to an edited module tree."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch

from app.engine.algebra import Refusal
from app.engine.forward.family import Family
from app.engine.forward.trace import Trace
from app.engine.fuse.layers import layer_node, layer_refusal, refilled_node
from app.engine.fuse.places import InChain, InSlot, called_modules, places
from app.engine.fuse.replacement import Replacement, foldable, stored_numbers
from app.engine.fuse.survey import Survey
from app.engine.interpret import affine
from app.engine.interpret.affine import Cut, Region
from app.engine.ir import graph as ir
from app.engine.ir.graph import Const, Node
from app.engine.ir.module import Module, identity_node
from app.engine.ir.node import Object


@dataclass(frozen=True, slots=True)
class Fusion:
    """What is to be replaced in one traced unit, and a reason for what could have been and is not."""

    trace: Trace
    replacements: tuple[Replacement, ...]
    cuts: tuple[Cut, ...]


def plan_fusion(trace: Trace, tree: Survey, dtype: torch.dtype | None) -> Fusion:
    """Find what can be replaced and compute its weights, stored as `dtype` (None: as the convolution's own weight).

    Nothing is edited. A layer whose folded weights its dtype can't hold is left, with the numbers as reason.
    """
    where = places(trace, tree)
    reading = affine.read(trace.graph, where)
    called = called_modules(trace)
    cuts = dict(reading.cuts)
    replacements = []
    for region in _writable(trace, reading.regions, where, called, cuts):
        outcome = _refusal(region, tree, called) or _materialised(region, called, dtype)
        if isinstance(outcome, Refusal):
            cuts.update({id(node): Cut(node.owner, outcome.code, outcome.reason) for node in foldable(region)})
        else:
            replacements.append(outcome)
    kept = _whole_blocks(replacements, called, cuts)
    order = {id(node): number for number, node in enumerate(trace.graph.nodes)}
    return Fusion(trace, tuple(kept), tuple(cut for _, cut in sorted(cuts.items(), key=lambda pair: order[pair[0]])))


def _writable(
    trace: Trace,
    regions: Sequence[Region],
    where: Mapping[int, affine.Place],
    called: Mapping[str, tuple[Module, Family]],
    cuts: dict[int, Cut],
) -> Iterator[Region]:
    """The regions that fill a slot whole, or run along a chain with a convolution in it."""
    in_slot: dict[InSlot, int] = {}
    for node in trace.graph.nodes:
        place = where[id(node)]
        if isinstance(place, InSlot):
            in_slot[place] = in_slot.get(place, 0) + 1
    for region in regions:
        if isinstance(region.place, InSlot) and in_slot[region.place] != len(region.nodes):
            reason = f"only a part of the block's slot {region.place.slot!r} is linear"
            cuts.update({id(n): Cut(n.owner, "slot-not-whole", reason) for n in foldable(region)})
        elif isinstance(region.place, InChain) and not _layers(region):
            cuts.update({id(n): Cut(n.owner, "no-convolution", "no layer to hold it") for n in foldable(region)})
        else:
            yield region


def _layers(region: Region) -> list[Node]:
    """The convolutions of a chain."""
    return [node for node in region.nodes if isinstance(node.operation, (ir.Conv, ir.Linear))]


def _refusal(region: Region, tree: Survey, called: Mapping[str, tuple[Module, Family]]) -> Refusal | None:
    """Why a sound region is not replaced: its weights serve elsewhere, or no layer has its geometry."""
    consts = [const for node in region.nodes for const in node.consts()]
    inside = {path for const in consts for path in const.paths}
    for const in consts:
        for path, tensor in zip(const.paths, const.sources, strict=True):
            for other in tree.sharing(tensor):
                if other not in inside:
                    return Refusal("weights-shared", f"{path} is the same memory as {other}")
    core = region.pending.core
    assert core is not None
    return _class_refusal(region, called) or layer_refusal(core.plan.kernel, core.plan.geometry)


def _class_refusal(region: Region, called: Mapping[str, tuple[Module, Family]]) -> Refusal | None:
    """A convolution that has to keep its class takes in what is per channel, and no other convolution."""
    layers = _layers(region)
    bound = next((node.owner for node in layers if _keeps_class(node.owner, called)), None)
    linear = [node for node in region.nodes if not isinstance(node.operation, (ir.BatchNorm, ir.Scale, ir.Shift))]
    if bound is None or len(linear) == 1:
        return None
    return Refusal("class-must-stay", f"{bound} does more than its convolution, which can't be merged with others")


def _keeps_class(path: str, called: Mapping[str, tuple[Module, Family]]) -> bool:
    return path in called and called[path][1].keeps_class


def _materialised(
    region: Region, called: Mapping[str, tuple[Module, Family]], dtype: torch.dtype | None
) -> Replacement | Refusal:
    rounded = stored_numbers(region.pending, dtype or _stored_dtype(region))
    if isinstance(rounded, Refusal):
        return rounded
    place = region.place
    path = place.path if isinstance(place, InSlot) else _layers(region)[-1].owner
    return Replacement(region, path, called[path][1].read_as, rounded.weight, rounded.bias, _location(region))


def _stored_dtype(region: Region) -> torch.dtype:
    """The dtype of the last convolution, or else of the last constant; float32 for a region without any."""
    dtypes = [const.stored_dtype for const in _held(region) if const.stored_dtype.is_floating_point]
    return dtypes[-1] if dtypes else torch.float32


def _location(region: Region) -> str:
    """Where the last convolution is loaded to, or else the last constant."""
    tensors = [tensor for const in _held(region) for tensor in const.sources]
    return tensors[-1].storage.location if tensors else "cpu"


def _held(region: Region) -> list[Const]:
    """The weights of a region's convolutions, or else all its constants."""
    weights = [_weight(node) for node in _layers(region)]
    return weights or [const for node in region.nodes for const in node.consts()]


def _weight(node: Node) -> Const:
    assert isinstance(node.operation, (ir.Conv, ir.Linear))
    return node.operation.weight


def _whole_blocks(
    replacements: Sequence[Replacement], called: Mapping[str, tuple[Module, Family]], cuts: dict[int, Cut]
) -> list[Replacement]:
    """Drop the replacements of blocks whose deploy form exists only as a whole, where a slot is missing."""
    filled: dict[str, set[str]] = {}
    for replacement in replacements:
        if isinstance(replacement.region.place, InSlot):
            filled.setdefault(replacement.path, set()).add(replacement.region.place.slot)
    kept = []
    for replacement in replacements:
        module, family = called[replacement.path]
        form = family.deploy if isinstance(replacement.region.place, InSlot) else None
        needed = {slot.name for slot in form.slots(module)} if form and form.all_or_nothing else set()
        if needed <= filled.get(replacement.path, needed):
            kept.append(replacement)
            continue
        reason = "the deploy form needs every part of the block to be fused"
        cuts.update({id(n): Cut(n.owner, "block-not-whole", reason) for n in foldable(replacement.region)})
    return kept


def apply(fusion: Fusion, root: Module) -> dict[int, Object]:
    """Edit the tree: each block takes its deploy form, each chain its convolution and identities.

    The new layer of each replacement, by the replacement's id.
    """
    called = called_modules(fusion.trace)
    standing: dict[int, Object] = {}
    by_block: dict[str, dict[str, object]] = {}
    for replacement in fusion.replacements:
        place = replacement.region.place
        if isinstance(place, InSlot):
            module = called[place.path][0]
            template = _template(called, replacement)
            node = _node(replacement, template, _training(module))
            by_block.setdefault(place.path, {})[place.slot] = node
        else:
            node = _write_chain(replacement, root, called)
        standing[id(replacement)] = node
    for path, nodes in by_block.items():
        module, family = called[path]
        assert family.deploy is not None
        family.deploy.write(module, nodes)
    return standing


def _node(replacement: Replacement, template: Module | None, training: bool) -> Object:
    held = replacement.weight, replacement.bias
    node = layer_node(*held, replacement.geometry, template, training, replacement.location)
    if _needs_no_bias(replacement):
        node.state["_parameters"]["bias"] = None
    return node


def _needs_no_bias(replacement: Replacement) -> bool:
    """A layer on its own, whose weight was computed, stays without a bias if it had none."""
    nodes = replacement.region.nodes
    operation = nodes[0].operation if len(nodes) == 1 else None
    none = isinstance(operation, (ir.Conv, ir.Linear)) and operation.bias is None
    return none and not bool(replacement.bias.any())


def _training(module: Module) -> bool:
    return bool(module.attribute("training", False))


def _template(called: Mapping[str, tuple[Module, Family]], replacement: Replacement) -> Module | None:
    """The layer of the training form whose attributes the fused one keeps: the largest convolution of the region."""
    layers = [node for node in _layers(replacement.region) if node.owner in called and called[node.owner][1].leaf]
    if not layers:
        return None
    largest = max(layers, key=lambda node: prod(_weight(node).shape))
    return called[largest.owner][0]


def _write_chain(replacement: Replacement, root: Module, called: Mapping[str, tuple[Module, Family]]) -> Object:
    """The last convolution of the chain holds the weights (code may look at `conv.weight`), the others do nothing."""
    module, family = called[replacement.path]
    if family.keeps_class:
        holder = refilled_node(module, replacement.weight, replacement.bias, replacement.location)
    else:
        holder = _node(replacement, module, _training(module))
    for path in dict.fromkeys(node.owner for node in replacement.region.nodes):
        _put(root, path, holder if path == replacement.path else _left(*called[path]))
    return holder


def _left(module: Module, family: Family) -> object:
    """What stays where a layer went into a neighbour."""
    return identity_node(_training(module)) if family.leftover is None else family.leftover(module)


def _put(root: Module, path: str, node: object) -> None:
    *above, name = path.split(".")
    parent: Module | None = root
    for part in above:
        assert parent is not None
        parent = parent.child(part)
    assert parent is not None
    parent.table("_modules")[name] = node
