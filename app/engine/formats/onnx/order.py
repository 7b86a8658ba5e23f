"""What operators of a graph read of one another: their order, and which of them an output needs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from onnx import ModelProto, NodeProto

from app.engine.formats.onnx.emit import Weight
from app.engine.forward.onnx import captured


@dataclass(eq=False, slots=True)
class Step:
    """An operator on its way into the file: what it reads and gives, and where it would like to stand."""

    place: tuple[int, int]
    inputs: list[str | Weight]
    captured: tuple[str, ...]  # names that its inner graphs read
    outputs: tuple[str, ...]
    node: NodeProto  # what else it says; its inputs and outputs are those above

    @property
    def kind(self) -> str:
        """The operator of ONNX's own domain that it is; no name for one of another domain."""
        return str(self.node.op_type) if self.node.domain in ("", "ai.onnx") else ""

    def reads(self) -> Iterable[str]:
        yield from (name for name in self.inputs if isinstance(name, str) and name)
        yield from self.captured


def needed(steps: Sequence[Step], outputs: Iterable[str]) -> list[Step]:
    """The steps that the outputs depend on, in the order given; steps may stand in any order."""
    producer = {name: step for step in steps for name in step.outputs if name}
    waiting, found = list(outputs), set()
    while waiting:
        step = producer.get(waiting.pop())
        if step is not None and id(step) not in found:
            found.add(id(step))
            waiting.extend(step.reads())
    return [step for step in steps if id(step) in found]


def ordered(steps: Sequence[Step]) -> list[Step]:
    """Each step behind those that it reads; as near to its place as that allows. Without those in a circle."""
    producer = {name: number for number, step in enumerate(steps) for name in step.outputs if name}
    needs = [{producer[name] for name in step.reads() if name in producer} for step in steps]
    readers: dict[int, list[int]] = {}
    for number, sources in enumerate(needs):
        for source in sources:
            readers.setdefault(source, []).append(number)
    ready = [(steps[number].place, number) for number, sources in enumerate(needs) if not sources]
    heapify(ready)
    done: list[Step] = []
    while ready:
        _, number = heappop(ready)
        done.append(steps[number])
        for reader in readers.get(number, ()):
            needs[reader].discard(number)
            if not needs[reader]:
                heappush(ready, (steps[reader].place, reader))
    return done


def put_in_order(model: ModelProto) -> None:
    """Operators of the main graph behind those that they read, which some exporters leave to the runtime."""
    nodes = model.graph.node
    steps = [
        Step((number, 0), list(node.input), captured(node), tuple(node.output), node)
        for number, node in enumerate(nodes)
    ]
    found = ordered(steps)
    if len(found) == len(steps) and found != steps:
        copies = [NodeProto.FromString(step.node.SerializeToString()) for step in found]
        model.graph.ClearField("node")
        model.graph.node.extend(copies)
