"""The inert pickle machine: what each operation does, on plain containers and nodes. It calls nothing of the file.

REDUCE, NEWOBJ, NEWOBJ_EX and BUILD are recorded in an Object instead of being performed; globals are names.
"""

import pickle
from typing import Any

from app.engine.formats.geometry import geometry_fault, rebuilds_tensor, repeated, unsupported_tensor
from app.engine.formats.hashable import KeyCheck
from app.engine.formats.limits import Limits, check_limit
from app.engine.formats.persistent_ids import Fault, PersistentIds
from app.engine.ir.node import MISSING, Global, Object
from app.engine.ir.sets import OrderedFrozenSet, OrderedSet
from app.engine.ir.tensors import ORDERED_DICT

_LONGEST_NAME = 1024
_MOST_KEYWORDS = 1000


class Machine:
    """The state of one run; each method is one operation and takes its argument."""

    def __init__(self, limits: Limits, persistent: PersistentIds) -> None:
        self.limits = limits
        self.persistent = persistent
        self.keys = KeyCheck(limits)
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # stacks below the open marks
        self.memo: dict[int, Any] = {}
        self.globals: dict[tuple[str, str], Global] = {}
        self.unsupported: set[str] = set()
        self.protocol = 0
        self.root: Any = None
        self.objects: list[Object] = []  # every one, also those that the root will not hold
        self._result: Object | None = None  # of a call, until it is memoised
        self._copied_from: dict[int, Any] = {}  # containers that a loader has taken the content of, by id
        self._objects = 0
        self._copied = 0
        self._repeated = 0

    # Stack

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def mark(self, _: None) -> None:
        if len(self.outer) >= self.limits.max_depth:
            check_limit("open marks", len(self.outer) + 1, self.limits.max_depth)
        self.outer.append(self.stack)
        self.stack = []

    def pop_mark(self, _: None = None) -> list[Any]:
        if not self.outer:
            raise Fault("no mark is open")
        values, self.stack = self.stack, self.outer.pop()
        return values

    def drop_mark(self, _: None) -> None:
        self.pop_mark()

    def pop(self, _: None) -> None:
        if not self.stack:
            self.pop_mark()
        elif (value := self.stack.pop()) is self._result and value is not None:
            self._set_state(value)

    def dup(self, _: None) -> None:
        self.stack.append(self.stack[-1])

    def stop(self, _: None) -> None:
        if len(self.stack) != 1 or self.outer:
            raise Fault("the stack does not hold exactly one value")
        self.root = self.stack.pop()

    def proto(self, version: int) -> None:
        if version > pickle.HIGHEST_PROTOCOL:
            raise Fault(f"protocol {version} does not exist")
        if self.stack or self.outer or self.memo:
            raise Fault("the protocol is not given first")
        self.protocol = version

    # Memo

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]
        self._result = None
        if len(self.memo) > self.limits.max_memo:
            check_limit("memo entries", len(self.memo), self.limits.max_memo)

    def memoize(self, _: None) -> None:
        self.put(len(self.memo))

    def get(self, index: int) -> None:
        try:
            self.stack.append(self.memo[index])
        except KeyError:
            raise Fault(f"memo entry {index} does not exist") from None

    # Containers

    def create(self, value: Any) -> None:
        self._objects += 1
        if self._objects > self.limits.max_objects:
            check_limit("objects", self._objects, self.limits.max_objects)
        self.stack.append(value)

    def make_tuple(self, _: None) -> None:
        self.create(tuple(self.pop_mark()))

    def make_tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise IndexError
        values = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.create(values)

    def make_list(self, _: None) -> None:
        self.create(self.pop_mark())

    def make_dict(self, _: None) -> None:
        values = self.pop_mark()
        mapping: dict[Any, Any] = {}
        self.create(mapping)
        self._set_items(mapping, values)

    def make_frozenset(self, _: None) -> None:
        members = self.pop_mark()
        for member in members:
            self.keys.check(member)
        self.create(OrderedFrozenSet(members))

    def append(self, _: None) -> None:
        value = self.stack.pop()
        self._extend(self.stack[-1], [value])

    def appends(self, _: None) -> None:
        values = self.pop_mark()
        self._extend(self.stack[-1], values)

    def _extend(self, target: Any, values: list[Any]) -> None:
        self._refuse_late(target)
        if isinstance(target, Object):
            if target.pairs or target.state is not MISSING or rebuilds_tensor(target):
                raise Fault("an object gets list items after it got pairs or a state, or is a tensor")
            target.items.extend(values)
        elif isinstance(target, list):
            target.extend(values)
        else:
            raise Fault(f"list items for a {_kind(target)}")

    def setitem(self, _: None) -> None:
        value = self.stack.pop()
        key = self.stack.pop()
        self._set_items(self.stack[-1], [key, value])

    def setitems(self, _: None) -> None:
        values = self.pop_mark()
        self._set_items(self.stack[-1], values)

    def _set_items(self, target: Any, values: list[Any]) -> None:
        self._refuse_late(target)
        if isinstance(target, Object):
            if target.state is not MISSING or rebuilds_tensor(target):
                raise Fault("an object gets pairs after its state, or is a tensor")
            target = target.pairs
        elif not isinstance(target, dict):
            raise Fault(f"pairs for a {_kind(target)}")
        if len(values) % 2:
            raise Fault("a key without a value")
        check = self.keys.check
        for key in values[::2]:
            if type(key) is not str:
                check(key)
        target.update(zip(values[::2], values[1::2], strict=True))

    def additems(self, _: None) -> None:
        members = self.pop_mark()
        target = self.stack[-1]
        self._refuse_late(target)
        if not isinstance(target, OrderedSet):
            raise Fault(f"set members for a {_kind(target)}")
        for member in members:
            self.keys.check(member)
        target.extend(members)

    # Names and objects

    def global_name(self, name: tuple[str, str]) -> None:
        known = self.globals.get(name)
        if known is None:
            if not all(map(str.isprintable, name)) or not all(name) or len(name[0]) + len(name[1]) > _LONGEST_NAME:
                raise Fault("the name of a global is empty, too long or not printable")
            check_limit("different globals", len(self.globals) + 1, self.limits.max_globals)
            known = self.globals[name] = Global(*name)
        self.stack.append(known)

    def stack_global(self, _: None) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise Fault("the name of a global is not a string")
        self.global_name((module, name))

    def persistent_id(self, _: None) -> None:
        self.stack.append(self.persistent.resolve(self.stack.pop()))

    def reduce(self, _: None) -> None:
        args, origin = self.stack.pop(), self.stack.pop()
        node = self._object(origin, args, "reduce")
        self._take(args)
        if origin == ORDERED_DICT and args:
            self._fill_ordered_dict(node)
        fault = geometry_fault(node) if isinstance(origin, Global) else None
        kind = unsupported_tensor(node)
        if kind is not None:
            self.unsupported.add(kind)
        elif fault is not None:
            raise Fault(fault)
        self._repeated += repeated(node)
        check_limit("elements of tensors that repeat their storage", self._repeated, self.limits.max_repeated)
        self.create(node)
        self._result = node

    def newobj(self, _: None) -> None:
        args, origin = self.stack.pop(), self.stack.pop()
        node = self._object(origin, args, "newobj")
        self._refuse_tensor_class(node)
        self.create(node)

    def newobj_ex(self, _: None) -> None:
        kwargs, args, origin = self.stack.pop(), self.stack.pop(), self.stack.pop()
        if not isinstance(kwargs, dict) or len(kwargs) > _MOST_KEYWORDS or not all(map(_is_text, kwargs)):
            raise Fault("the keyword arguments are not a dictionary of some names")
        node = self._object(origin, args, "newobj_ex")
        node.kwargs = kwargs
        self._refuse_tensor_class(node)
        self.create(node)

    def _object(self, origin: Any, args: Any, how: Any) -> Object:
        if not isinstance(origin, (Global, Object)):
            raise Fault(f"a {_kind(origin)} is called")
        if not isinstance(args, tuple):
            raise Fault(f"the arguments are a {_kind(args)}, not a tuple")
        made = Object(origin, args, how)
        self.objects.append(made)
        return made

    def _refuse_tensor_class(self, node: Object) -> None:
        fault = geometry_fault(node)
        if fault is not None:
            raise Fault(fault)

    def _fill_ordered_dict(self, node: Object) -> None:
        """Python 2 wrote OrderedDict([[key, value], ...])."""
        pairs = node.args[0]
        if len(node.args) != 1 or not isinstance(pairs, list):
            raise Fault("the arguments of an OrderedDict are not one list of pairs")
        # One list may be given to many calls: what is copied counts as work.
        self._copied += len(pairs)
        check_limit("pairs of ordered dictionaries", self._copied, self.limits.max_pairs)
        for pair in pairs:
            if not isinstance(pair, (list, tuple)) or len(pair) != 2:
                raise Fault("the arguments of an OrderedDict are not one list of pairs")
            self._set_items(node, list(pair))
        node.args = ()

    def build(self, _: None) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, Object):
            raise Fault(f"a state for a {_kind(target)}")
        if target.state is not MISSING:
            raise Fault("an object gets a second state")
        if rebuilds_tensor(target):  # it would take the place of what the storage holds
            raise Fault("a state for a tensor")
        target.state = state
        self._take(state)

    def _take(self, value: Any) -> None:
        """A call or a state is done with once: what its containers get later is not in what was made of them."""
        if id(value) in self._copied_from:
            return
        parts = value if isinstance(value, tuple) else (value,)
        self._copied_from[id(value)] = value
        self._copied_from.update((id(part), part) for part in parts if isinstance(part, (list, dict, OrderedSet)))

    def _refuse_late(self, target: Any) -> None:
        if id(target) in self._copied_from:
            raise Fault(f"a {_kind(target)} is changed after something was made of it")

    def _set_state(self, call: Object) -> None:
        """A call whose result is dropped at once: `setter(object, state)`, which picklers write in place of BUILD."""
        if not call.args:  # it can have changed nothing of the tree
            return
        target, state = call.args if len(call.args) == 2 else (None, None)
        if not isinstance(target, Object) or not self.stack or self.stack[-1] is not target:
            raise Fault("the result of a call is dropped")
        if target.state is not MISSING or rebuilds_tensor(target):
            raise Fault("an object gets a second state")
        target.state, target.setter = state, call.origin
        self._take(state)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _kind(value: Any) -> str:
    return type(value).__name__
