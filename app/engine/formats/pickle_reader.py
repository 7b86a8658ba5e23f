"""One pickle as an inert tree: its operations run on the inert machine, faults named with their place."""

import gc
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from app.engine.formats.limits import Limits
from app.engine.formats.nesting import check_nesting
from app.engine.formats.persistent_ids import Fault, PersistentIds
from app.engine.formats.pickle_machine import Machine
from app.engine.formats.pickle_opcodes import Buffer, malformed, read_operations
from app.engine.ir.node import Global, Object
from app.engine.ir.sets import OrderedSet
from app.errors import UnsupportedContent


@dataclass(frozen=True, slots=True)
class Pickled:
    """What one pickle holds."""

    root: Any
    protocol: int
    globals: frozenset[Global]
    objects: tuple[Object, ...]  # every one, also those that the root does not hold
    end: int  # the byte behind STOP


def read_pickle(buffer: Buffer, start: int, limits: Limits, persistent: PersistentIds) -> Pickled:
    """The inert tree of the pickle at byte `start`."""
    machine = Machine(limits, persistent)
    steps, code, position = _STEPS, 0, start
    try:
        with _collector_paused():
            for code, argument, position in read_operations(buffer, start, limits):  # noqa: B007  # named in errors
                steps[code](machine, argument)
    except (Fault, IndexError) as fault:
        # Every step takes its operands from the stack: the only IndexError is an empty one.
        text = str(fault) if isinstance(fault, Fault) else "the stack has too few values"
        raise malformed(text, code, position) from None
    if machine.unsupported:
        names = sorted(machine.unsupported)
        raise UnsupportedContent(
            f"the file holds tensors of kinds that are not read: {', '.join(names)}",
            remedy="Convert them to plain dense tensors, or upload the model alone.",
            names=names,
        )
    check_nesting(machine.root, limits)
    named = frozenset(machine.globals.values())
    return Pickled(machine.root, machine.protocol, named, tuple(machine.objects), position + 1)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """A pickle builds objects and drops none: the collector would only look through all of them, again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


_Step = Callable[[Machine, Any], None]


def _constant(value: Any) -> _Step:
    return lambda machine, _: machine.push(value)


def _tuple_of(count: int) -> _Step:
    return lambda machine, _: machine.make_tuple_of(count)


def _empty(kind: type) -> _Step:
    return lambda machine, _: machine.create(kind())


_NUMBERS = (
    *(pickle.FLOAT, pickle.BINFLOAT, pickle.INT, pickle.BININT, pickle.BININT1, pickle.BININT2),
    *(pickle.LONG, pickle.LONG1, pickle.LONG4),
)
_STRINGS = (
    *(pickle.STRING, pickle.BINSTRING, pickle.SHORT_BINSTRING, pickle.UNICODE),
    *(pickle.BINUNICODE, pickle.SHORT_BINUNICODE, pickle.BINUNICODE8),
    *(pickle.BINBYTES, pickle.SHORT_BINBYTES, pickle.BINBYTES8, pickle.BYTEARRAY8),
)
_OPERATIONS: Final[dict[bytes, _Step]] = {
    pickle.PROTO: Machine.proto,
    pickle.STOP: Machine.stop,
    pickle.MARK: Machine.mark,
    pickle.POP: Machine.pop,
    pickle.POP_MARK: Machine.drop_mark,
    pickle.DUP: Machine.dup,
    pickle.NONE: _constant(None),
    pickle.NEWTRUE: _constant(True),
    pickle.NEWFALSE: _constant(False),
    **dict.fromkeys((*_NUMBERS, *_STRINGS), Machine.push),
    **dict.fromkeys((pickle.GET, pickle.BINGET, pickle.LONG_BINGET), Machine.get),
    **dict.fromkeys((pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT), Machine.put),
    pickle.MEMOIZE: Machine.memoize,
    pickle.EMPTY_TUPLE: _constant(()),
    pickle.TUPLE: Machine.make_tuple,
    pickle.TUPLE1: _tuple_of(1),
    pickle.TUPLE2: _tuple_of(2),
    pickle.TUPLE3: _tuple_of(3),
    pickle.EMPTY_LIST: _empty(list),
    pickle.EMPTY_DICT: _empty(dict),
    pickle.EMPTY_SET: _empty(OrderedSet),
    pickle.LIST: Machine.make_list,
    pickle.DICT: Machine.make_dict,
    pickle.FROZENSET: Machine.make_frozenset,
    pickle.APPEND: Machine.append,
    pickle.APPENDS: Machine.appends,
    pickle.ADDITEMS: Machine.additems,
    pickle.SETITEM: Machine.setitem,
    pickle.SETITEMS: Machine.setitems,
    pickle.GLOBAL: Machine.global_name,
    pickle.STACK_GLOBAL: Machine.stack_global,
    pickle.BINPERSID: Machine.persistent_id,
    pickle.REDUCE: Machine.reduce,
    pickle.BUILD: Machine.build,
    pickle.NEWOBJ: Machine.newobj,
    pickle.NEWOBJ_EX: Machine.newobj_ex,
}
_STEPS: Final[dict[int, _Step]] = {code[0]: step for code, step in _OPERATIONS.items()}
