"""From an inert tree to a pickle: the same operations that were read, with every alias and cycle kept.

Iterative: each value under way is a generator that yields the parts that must be written before it goes on. The order
of operations is that of CPython's pickler (Lib/pickle.py), which matters for cycles through tuples and objects.
"""

import pickle
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from app.engine.ir.node import MISSING, Global, Object, PersistentId, Storage
from app.engine.ir.sets import OrderedFrozenSet, OrderedSet

_Steps = Iterator[Any]
_BATCH = 1000
_SHARED = (str, Global)  # memoised by value


def write_pickle(root: Any, protocol: int, persistent_id: Callable[[Storage], tuple[Any, ...]]) -> bytes:
    """`root` as a pickle of at least protocol 2. `persistent_id` names each storage, the same one the same way."""
    writer = _Writer(max(2, protocol), persistent_id)
    return writer.write(root)


def write_pickle_with_modules(
    root: Any,
    protocol: int,
    persistent_id: Callable[[Storage], tuple[Any, ...]],
    modules: Iterable[PersistentId],
) -> bytes:
    """As `write_pickle`; classes named in `modules` carry their source text at first mention (legacy files)."""
    writer = _Writer(max(2, protocol), persistent_id)
    writer.modules = {module.pid[1]: module.pid for module in modules}
    return writer.write(root)


class _Writer:
    def __init__(self, protocol: int, persistent_id: Callable[[Storage], tuple[Any, ...]]) -> None:
        self.protocol = protocol
        self.modules: dict[Global, tuple[Any, ...]] = {}
        self._persistent_id = persistent_id
        self._out = bytearray()
        self._memo: dict[Any, int] = {}  # id, or the value itself for those in _SHARED -> memo index
        self._alive: list[Any] = []  # what is memoised by id must not be freed
        self._count = 0

    def write(self, root: Any) -> bytes:
        out = self._out
        out += pickle.PROTO + bytes([self.protocol])
        under_way: list[_Steps] = [iter((root,))]
        while under_way:
            for part in under_way[-1]:
                steps = self._begin(part)
                if steps is not None:
                    under_way.append(steps)
                    break
            else:
                under_way.pop()
        out += pickle.STOP
        return bytes(out)

    def _begin(self, value: Any) -> _Steps | None:
        """Write `value` now if it has no parts, else return the steps that do."""
        kind = type(value)
        write = _SCALARS.get(kind)
        if write is not None:
            write(self, value)
            return None
        index = self._memo.get(value if kind in _SHARED else id(value))
        if index is not None:
            self._get(index)
            return None
        if kind is str:
            self._string(value)
            return None
        steps = _COMPOUND.get(kind)
        if steps is None:
            raise TypeError(f"a {kind.__name__} is not a value of an inert tree")
        return steps(self, value)

    # Memo

    def _put(self, value: Any) -> None:
        index, self._count = self._count, self._count + 1
        if type(value) in _SHARED:
            self._memo[value] = index
        else:
            self._memo[id(value)] = index
            self._alive.append(value)
        if self.protocol >= 4:
            self._out += pickle.MEMOIZE
        elif index < 256:
            self._out += pickle.BINPUT + bytes([index])
        else:
            self._out += pickle.LONG_BINPUT + struct.pack("<I", index)

    def _get(self, index: int) -> None:
        if index < 256:
            self._out += pickle.BINGET + bytes([index])
        else:
            self._out += pickle.LONG_BINGET + struct.pack("<I", index)

    # Values without parts

    def _none(self, _: None) -> None:
        self._out += pickle.NONE

    def _bool(self, value: bool) -> None:
        self._out += pickle.NEWTRUE if value else pickle.NEWFALSE

    def _int(self, value: int) -> None:
        if 0 <= value <= 0xFF:
            self._out += pickle.BININT1 + bytes([value])
        elif 0 <= value <= 0xFFFF:
            self._out += pickle.BININT2 + struct.pack("<H", value)
        elif -(1 << 31) <= value < 1 << 31:
            self._out += pickle.BININT + struct.pack("<i", value)
        else:
            raw = pickle.encode_long(value)
            short = len(raw) < 256
            self._out += (
                pickle.LONG1 + bytes([len(raw)]) if short else pickle.LONG4 + struct.pack("<i", len(raw))
            ) + raw

    def _float(self, value: float) -> None:
        self._out += pickle.BINFLOAT + struct.pack(">d", value)

    def _string(self, value: str) -> None:
        raw = value.encode("utf-8", "surrogatepass")
        if self.protocol >= 4 and len(raw) < 256:
            self._out += pickle.SHORT_BINUNICODE + bytes([len(raw)])
        elif len(raw) <= 0xFFFFFFFF:
            self._out += pickle.BINUNICODE + struct.pack("<I", len(raw))
        else:
            self._out += pickle.BINUNICODE8 + struct.pack("<Q", len(raw))
        self._out += raw
        self._put(value)

    # Values with parts. A value that holds itself may be memoised while its parts are written: it is then fetched.

    def _bytes(self, value: bytes) -> _Steps:
        if self.protocol < 3:  # as Python 3 writes bytes for Python 2
            text = (value.decode("latin1"), "latin1")
            yield from (
                self._call(Global("_codecs", "encode"), text) if value else self._call(self._builtin("bytes"), ())
            )
        elif len(value) < 256:
            self._out += pickle.SHORT_BINBYTES + bytes([len(value)]) + value
        elif len(value) <= 0xFFFFFFFF:
            self._out += pickle.BINBYTES + struct.pack("<I", len(value)) + value
        else:
            self._out += pickle.BINBYTES8 + struct.pack("<Q", len(value)) + value
        self._put(value)

    def _bytearray(self, value: bytearray) -> _Steps:
        if self.protocol < 5:
            yield from self._call(self._builtin("bytearray"), (bytes(value),) if value else ())
        else:
            self._out += pickle.BYTEARRAY8 + struct.pack("<Q", len(value)) + value
        self._put(value)

    def _tuple(self, value: tuple[Any, ...]) -> _Steps:
        if not value:
            self._out += pickle.EMPTY_TUPLE
            return
        if len(value) > 3:
            self._out += pickle.MARK
        yield from value
        index = self._memo.get(id(value))
        if index is not None:
            self._out += pickle.POP_MARK if len(value) > 3 else pickle.POP * len(value)
            self._get(index)
            return
        self._out += {1: pickle.TUPLE1, 2: pickle.TUPLE2, 3: pickle.TUPLE3}.get(len(value), pickle.TUPLE)
        self._put(value)

    def _list(self, value: list[Any]) -> _Steps:
        self._out += pickle.EMPTY_LIST
        self._put(value)
        yield from self._appends(value)

    def _dict(self, value: dict[Any, Any]) -> _Steps:
        self._out += pickle.EMPTY_DICT
        self._put(value)
        yield from self._set_items(value)

    def _set(self, value: set[Any]) -> _Steps:
        if self.protocol < 4:
            yield from self._call(self._builtin("set"), (list(value),))
            self._put(value)
            return
        self._out += pickle.EMPTY_SET
        self._put(value)
        for batch in _batches(list(value)):
            self._out += pickle.MARK
            yield from batch
            self._out += pickle.ADDITEMS

    def _frozenset(self, value: frozenset[Any]) -> _Steps:
        if self.protocol < 4:
            yield from self._call(self._builtin("frozenset"), (list(value),))
        else:
            self._out += pickle.MARK
            yield from value
            index = self._memo.get(id(value))
            if index is not None:
                self._out += pickle.POP_MARK
                self._get(index)
                return
            self._out += pickle.FROZENSET
        self._put(value)

    def _global(self, value: Global) -> _Steps:
        module = self.modules.pop(value, None)
        if module is not None:
            yield module
            self._out += pickle.BINPERSID
            return
        if self.protocol >= 4:
            yield value.module
            yield value.name
            self._out += pickle.STACK_GLOBAL
        else:
            self._out += pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode()
        self._put(value)

    def _storage(self, value: Storage) -> _Steps:
        yield self._persistent_id(value)
        self._out += pickle.BINPERSID

    def _pid(self, value: PersistentId) -> _Steps:
        yield value.pid
        self._out += pickle.BINPERSID

    def _object(self, value: Object) -> _Steps:
        yield value.origin
        yield value.args
        if value.how == "newobj_ex":
            yield value.kwargs or {}
        index = self._memo.get(id(value))
        if index is not None:
            self._out += pickle.POP * (3 if value.how == "newobj_ex" else 2)
            self._get(index)
            return
        self._out += _CALLS[value.how]
        self._put(value)
        yield from self._appends(value.items)
        yield from self._set_items(value.pairs)
        if value.setter is not None:
            yield value.setter
            yield value
            yield value.state
            self._out += pickle.TUPLE2 + pickle.REDUCE + pickle.POP
        elif value.state is not MISSING:
            yield value.state
            self._out += pickle.BUILD

    def _call(self, origin: Global, args: tuple[Any, ...]) -> _Steps:
        yield origin
        yield args
        self._out += pickle.REDUCE

    def _builtin(self, name: str) -> Global:
        return Global("__builtin__" if self.protocol < 3 else "builtins", name)

    def _appends(self, values: list[Any]) -> _Steps:
        for batch in _batches(values):
            if len(batch) == 1:
                yield batch[0]
                self._out += pickle.APPEND
            else:
                self._out += pickle.MARK
                yield from batch
                self._out += pickle.APPENDS

    def _set_items(self, pairs: dict[Any, Any]) -> _Steps:
        for batch in _batches(list(pairs.items())):
            if len(batch) > 1:
                self._out += pickle.MARK
            for key, value in batch:
                yield key
                yield value
            self._out += pickle.SETITEMS if len(batch) > 1 else pickle.SETITEM


def _batches(values: list[Any]) -> Iterator[list[Any]]:
    return (values[start : start + _BATCH] for start in range(0, len(values), _BATCH))


_CALLS: Final = {"reduce": pickle.REDUCE, "newobj": pickle.NEWOBJ, "newobj_ex": pickle.NEWOBJ_EX}
_SCALARS: Final[dict[type, Callable[[_Writer, Any], None]]] = {
    type(None): _Writer._none,
    bool: _Writer._bool,
    int: _Writer._int,
    float: _Writer._float,
}
_COMPOUND: Final[dict[type, Callable[[_Writer, Any], _Steps]]] = {
    bytes: _Writer._bytes,
    bytearray: _Writer._bytearray,
    tuple: _Writer._tuple,
    list: _Writer._list,
    dict: _Writer._dict,
    OrderedSet: _Writer._set,
    OrderedFrozenSet: _Writer._frozenset,
    Global: _Writer._global,
    Storage: _Writer._storage,
    PersistentId: _Writer._pid,
    Object: _Writer._object,
}
