"""Small random modules: steps over values that branch and join, in any order, as long as the shapes allow them."""

import random
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_POOL = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_LARGEST = 20_000

Step = Callable[..., Any]


class Drawn(nn.Module):
    """The steps that a seed gives over maps of `dims` dimensions; the last two values are the outputs."""

    def __init__(self, seed: int, dims: int, length: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.ModuleList()
        self.example = torch.randn(2, 4, *(13, 11, 9)[:dims])
        self.steps: list[tuple[Step, list[int]]] = []
        _Drawing(self, random.Random(seed), dims).draw(length)
        self.eval()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        values = [x]
        for step, places in self.steps:
            found = step(*(values[place] for place in places))
            values.extend(found if isinstance(found, tuple) else [found])
        return tuple(values[-2:])


class _Drawing:
    """Draws one step after the other, and tries each on the module's example."""

    def __init__(self, module: Drawn, source: random.Random, dims: int) -> None:
        self.module, self.source, self.dims = module, source, dims
        self.values = [module.example]

    def draw(self, length: int) -> None:
        while len(self.module.steps) < length:
            place = len(self.values) - 1
            if self.source.random() < 0.1:
                place = self.source.randrange(len(self.values))
            self._try(self.source.choice(_KINDS), place)

    def _try(self, kind: str, place: int) -> None:
        x = self.values[place]
        if x.ndim != self.dims + 2 and kind not in _ANYWHERE:
            return
        drawn = getattr(self, f"_{kind}")(x)
        step, others = drawn if isinstance(drawn, tuple) else (drawn, [])
        places = [place, *others]
        try:
            with torch.no_grad():
                found = step(*(self.values[one] for one in places))
        except RuntimeError:  # a kernel that the map is too small for
            return
        made = list(found) if isinstance(found, tuple) else [found]
        if all(0 < one.numel() <= _LARGEST for one in made):
            if isinstance(step, nn.Module):
                self.module.layers.append(step)
            self.module.steps.append((step, places))
            self.values.extend(made)

    # --- one kind of step each ------------------------------------------------------------------------------------

    def _conv(self, x: Tensor) -> Step:
        pick, channels = self.source.choice, x.shape[1]
        groups = pick([1, 1, 2]) if channels % 2 == 0 else 1
        kernel, padding = pick([1, 1, 2, 3]), pick([0, 0, 1, "same"])
        stride, mode = 1 if padding == "same" else pick([1, 1, 2]), pick(["zeros"] * 4 + ["reflect"])
        out, bias, dilation = groups * pick([1, 2, 3]), pick([True, False]), pick([1, 1, 2])
        return _CONV[self.dims - 1](channels, out, kernel, stride, padding, dilation, groups, bias, mode)

    def _transposed(self, x: Tensor) -> Step:
        pick = self.source.choice
        stride, dilation = pick([1, 2]), pick([1, 1, 2])
        extra = pick([0, 1]) if max(stride, dilation) > 1 else 0
        out, bias = pick([1, 2, 3]), pick([True, False])
        kernel, padding = pick([1, 2, 3]), pick([0, 0, 1])
        return _TRANSPOSED[self.dims - 1](x.shape[1], out, kernel, stride, padding, extra, 1, bias, dilation)

    def _norm(self, x: Tensor) -> Step:
        norm = _NORM[self.dims - 1](x.shape[1], affine=self.source.random() < 0.8).eval()
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        return _stirred(norm)

    def _pool(self, x: Tensor) -> Step:
        pick, kernel = self.source.choice, self.source.choice([1, 2, 3])
        ceil_mode, counted = pick([True, False]), pick([True, False])
        return _POOL[self.dims - 1](kernel, pick([1, 2]), pick([0, kernel // 2]), ceil_mode, counted)

    def _pad(self, x: Tensor) -> Step:
        sides = tuple(self.source.choice([0, 1, 2, -1]) for _ in range(2 * self.dims))
        value = self.source.choice([0, 0, 0.0, 1.5])
        return lambda t: F.pad(t, sides, value=value)

    def _scalar(self, x: Tensor) -> Step:
        number = self.source.choice([2, 0.5, -1, 3, 1, 1.0, -0.7, 0])
        divisor = number or 4
        return self.source.choice(
            [
                lambda t: t + number,
                lambda t: number - t,
                lambda t: t * number,
                lambda t: number * t - number,
                lambda t: t / divisor,
                lambda t: torch.add(t, t, alpha=divisor),
                lambda t: torch.rsub(t, number, alpha=2),
                torch.neg,
                lambda t: t * torch.ones_like(t) + torch.arange(t.shape[-1]) * 0.1,
            ]
        )

    def _vector(self, x: Tensor) -> Step:
        factor = torch.randn(x.shape[1], *(1,) * self.dims)
        return self.source.choice([lambda t: t * factor, lambda t: factor - t, lambda t: t / (factor.abs() + 0.5)])

    def _act(self, x: Tensor) -> Step:
        return self.source.choice([F.relu, torch.sigmoid, lambda t: F.silu(t, inplace=True), nn.Dropout().eval()])

    def _chunk(self, x: Tensor) -> Step:
        cuts = [lambda t: t.chunk(2, 1), lambda t: t[:, 1:], lambda t: t.flip(1), lambda t: t[:, ::2]]
        return self.source.choice(cuts)

    def _concat(self, x: Tensor) -> tuple[Step, list[int]]:
        return lambda *parts: torch.cat(parts, 1), [self._fitting(lambda t: t[:, :1].shape == x[:, :1].shape)]

    def _residual(self, x: Tensor) -> tuple[Step, list[int]]:
        return torch.add, [self._fitting(lambda t: t.shape == x.shape)]

    def _linear(self, x: Tensor) -> Step:
        return nn.Linear(x.shape[-1], self.source.choice([3, x.shape[-1]]), self.source.random() < 0.7)

    def _layer_norm(self, x: Tensor) -> Step:
        return _stirred(nn.LayerNorm(x.shape[-1]))

    def _move(self, x: Tensor) -> Step:
        return self.source.choice([lambda t: t.movedim(1, -1), lambda t: t.transpose(-1, -2), lambda t: t.flatten(2)])

    def _fitting(self, fits: Callable[[Tensor], bool]) -> int:
        return self.source.choice([place for place, value in enumerate(self.values) if fits(value)])


_ANYWHERE = ("scalar", "act", "linear", "residual", "chunk")
_MAPS = ("conv", "transposed", "norm", "pool", "pad", "vector", "concat", "layer_norm", "move")
_KINDS = (*_ANYWHERE, *_MAPS, "conv", "conv", "norm", "scalar")


def _stirred(norm: nn.Module) -> nn.Module:
    if norm.weight is not None:
        nn.init.normal_(norm.weight, 1, 0.3)
        nn.init.normal_(norm.bias)
    return norm
