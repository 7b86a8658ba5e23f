"""Classes that real checkpoints are made of, in one model: over twenty kinds of attribute."""

import collections
import dataclasses
import enum
import functools
import pathlib

import numpy as np
import torch
from torch import nn


class Mode(enum.Enum):
    FAST = "fast"
    EXACT = 3


@dataclasses.dataclass
class Slotted:
    __slots__ = ("left", "right")
    left: int
    right: tuple


@dataclasses.dataclass
class Settings:
    rate: float
    names: list


class Pair(collections.namedtuple("Pair", "a b")):  # an ordinary subclass, as user code has them
    pass


class Counts(dict):
    """A dictionary with attributes."""


class Stack(list):
    """A list with attributes."""


class KeywordOnly:
    def __new__(cls, *, size):
        made = super().__new__(cls)
        made.size = size
        return made

    def __getnewargs_ex__(self):
        return (), {"size": self.size}


class Delegated:
    """Leaves it to a function to set its state: the sixth part of what `__reduce__` may return."""

    def __init__(self, content=None):
        self.content = content

    def __reduce__(self):
        return Delegated, (), {"content": self.content}, None, None, set_state


def set_state(target, state):
    target.__dict__.update(state)


def scale(x, factor):
    return x * factor


class Net(nn.Module):
    def __init__(self, untyped=True):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
        self.norm = nn.BatchNorm2d(8)
        self.tied = nn.Linear(4, 4)
        self.other = nn.Linear(4, 4)
        self.other.weight = self.tied.weight
        self.layers = nn.ModuleList([nn.ReLU(), nn.Sequential(nn.Identity())])
        base = torch.arange(24.0).reshape(4, 6)
        self.register_buffer("whole", base)
        self.register_buffer("view", base[1:3, ::2])
        self.register_buffer("transposed", base.t())
        self.register_buffer("expanded", torch.ones(1).expand(1, 1))
        self.register_buffer("repeated", torch.arange(3.0)[:, None].expand(3, 40))
        self.register_buffer("windows", torch.arange(10.0).unfold(0, 4, 1))
        self.register_buffer("absent", None)
        self.dtypes = [
            torch.zeros(3, dtype=dtype)
            for dtype in (torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64)
        ]
        if untyped:  # dtypes that legacy files can't hold
            self.wide = torch.tensor([1, 65535], dtype=torch.uint16)
            self.narrow = torch.ones(3).to(torch.float8_e4m3fn)
        self.empty = torch.empty(0)
        self.scalar = torch.tensor(3.5, dtype=torch.float64)
        self.shared = [1, 2.5, "three", None, True, b"bytes", b"", 2**80, -5, 1 << 20, -(1 << 40), float("inf")]
        self.alias = self.shared
        self.cycle = []
        self.cycle.append((self.cycle, self))
        self.ordered = collections.OrderedDict([("b", 1), ("a", self.shared)])
        self.default = collections.defaultdict(list, {"x": [1]})
        self.counter = collections.Counter("hello")
        self.queue = collections.deque([1, 2, 3], maxlen=5)
        self.number = np.float64(0.123)
        self.array = np.arange(6).reshape(2, 3)
        self.sets = ({1, 2, 3}, frozenset({"a", "b"}), bytearray(b"raw"), set(), frozenset())
        self.mode = Mode.EXACT
        self.partial = functools.partial(scale, factor=2)
        self.size = torch.Size([2, 3])
        self.dtype, self.device = torch.float16, torch.device("cpu")
        self.slotted, self.settings = Slotted(1, (2, 3)), Settings(0.1, ["a"])
        self.pair, self.counts, self.stack = Pair(1, 2), Counts(a=1), Stack([1, 2])
        self.counts.note, self.stack.note = "kept", [self.stack]
        self.keyword = KeywordOnly(size=4)
        self.delegated = Delegated(self.shared)
        self.path, self.span, self.slice = pathlib.PurePosixPath("a/b"), range(3), slice(1, 2)
        self.kind, self.function = nn.Conv2d, scale
        self.keys = {1: "a", "b": 2, (1, "x"): 3, None: 4, 2.5: 5, Mode.FAST: 6}
        self.keys_of_sets = {frozenset({1, 2}): 3, (frozenset({"a"}), 1): {frozenset({"b"})}}
        self.many = {str(index): index for index in range(2100)}
        self.long = "ä" * 300
        self.surrogate = "\udc80"
        self.hook = self.norm.register_forward_hook(hook)
        self.bound = self.forward
        self.plain_buffer = nn.Buffer(torch.ones(2))

    def forward(self, x):
        return self.norm(self.conv(x))


def hook(module, args, output):
    return output
