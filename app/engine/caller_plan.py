"""`plan=`: which layer feeds which norm, and which weights are made of others, as the caller says it.

It is for models whose data flow nobody knows.
"""

import json
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, NoReturn, Self

from pydantic import Field, ValidationError, model_validator

from app.engine.plan_forms import LowRank, Normed, NormedLayers, Part, Path, normed_of
from app.errors import InvalidPlan

_REMEDY = 'Write {"pairs": [{"conv": "layer1.0.conv1", "norm": "layer1.0.bn1"}], "eps": 1e-5}.'

FORMS: Final = ("weight_norm", "spectral_norm", "lora")

# Strict: `true` is no eps of 1.
Eps = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]


class Pair(Part):
    """One batch norm and the convolution or Linear that it follows or precedes, and nothing else reads in between."""

    conv: Path | None = Field(default=None, description="The convolution; this or `linear` is given.")
    linear: Path | None = Field(default=None, description="The Linear layer; the norm is over its features.")
    norm: Path
    eps: Eps | None = Field(default=None, description="Of this norm; else the plan's.")
    order: Literal["norm-last", "norm-first"] = Field(
        default="norm-last", description="`norm-first`: the norm's output is what the layer takes in."
    )
    padding: Annotated[int, Field(strict=True, ge=0, le=1 << 20)] | None = Field(
        default=None, description="Zeros that the convolution pads its input with: to be said for `norm-first`."
    )
    transposed: bool = Field(
        default=False, strict=True, description="True for a transposed convolution: the file does not say it."
    )

    @property
    def layer(self) -> str:
        """The path of the convolution or Linear."""
        path = self.conv or self.linear
        assert path is not None
        return path

    @property
    def paths(self) -> tuple[str, str]:
        """Both paths, in the order of the data flow."""
        return (self.layer, self.norm) if self.order == "norm-last" else (self.norm, self.layer)

    @model_validator(mode="after")
    def _one_layer(self) -> Self:
        if (self.conv is None) == (self.linear is None):
            raise ValueError("a pair names one of conv and linear")
        if self.linear is not None and (self.transposed or self.padding):
            raise ValueError("a Linear layer has no padding and no transposed form")
        if self.transposed and self.order == "norm-first":
            raise ValueError("a norm before a transposed convolution can't be fused")
        if self.conv is not None and self.order == "norm-first" and self.padding is None:
            raise ValueError("for norm-first the padding of the convolution must be said")
        return self


class CallerPlan(Part):
    """What the caller asserts of a model that nobody knows."""

    pairs: Annotated[tuple[Pair, ...], Field(min_length=1, max_length=10_000)] = ()
    eps: Eps = Field(default=1e-5, description="Of all norms that do not say their own; torch.nn's default.")
    weight_norm: NormedLayers | None = Field(
        default=None, description="Layers with `weight_g` and `weight_v`, or `parametrizations.weight.original0` and 1."
    )
    spectral_norm: NormedLayers | None = Field(
        default=None,
        description="Layers with `weight_orig`, `weight_u` and `weight_v`, or `parametrizations.weight.original`.",
    )

    lora: LowRank | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.pairs and not self.forms:
            raise ValueError(f"it names none of pairs, {', '.join(FORMS)}")
        return self

    @property
    def forms(self) -> tuple[str, ...]:
        """What else than pairs it speaks of."""
        return tuple(name for name in FORMS if getattr(self, name) is not None)

    @property
    def norms(self) -> dict[str, Normed]:
        """Which weights are normed, by the kind of norm."""
        asked = {"weight_norm": self.weight_norm, "spectral_norm": self.spectral_norm}
        return {kind: normed_of(one) for kind, one in asked.items() if one is not None}

    @property
    def paths(self) -> tuple[str, ...]:
        """All paths that it speaks of, once each."""
        found = [path for pair in self.pairs for path in pair.paths]
        found.extend(path for normed in self.norms.values() for path in normed.paths)
        found.extend(self.lora.paths if self.lora is not None else ())
        return tuple(dict.fromkeys(found))

    def eps_of(self, pair: Pair) -> float:
        return self.eps if pair.eps is None else pair.eps


def read_plan(text: str) -> CallerPlan:
    """The plan as it stands in an option. Raises InvalidPlan."""
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=_constant)
        plan = CallerPlan.model_validate(found)
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"])) or "the plan"
        raise invalid_plan(where, f"is not valid: {wrong['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise invalid_plan("the plan", f"is not JSON: {str(error)[:200]}") from None
    for path in _twice(plan):
        raise invalid_plan(path, "is named twice: a layer is fused with one norm, and a norm into one layer")
    for path in _of_two_forms(plan):
        raise invalid_plan(path, "is named twice: its weight is made in one way")
    return plan


def _twice(plan: CallerPlan) -> Iterator[str]:
    seen: set[str] = set()
    for pair in plan.pairs:
        for path in pair.paths:
            if path in seen:
                yield path
            seen.add(path)


def _of_two_forms(plan: CallerPlan) -> Iterator[str]:
    seen: set[str] = set()
    for form in (*plan.norms.values(), *((plan.lora,) if plan.lora is not None else ())):
        for path in form.named:
            if path in seen:
                yield path
            seen.add(path)


def invalid_plan(path: str, what: str) -> InvalidPlan:
    """The error about one path of a plan."""
    shown = path.encode("utf-8", "backslashreplace").decode()[:200]
    return InvalidPlan(f"{shown} {what}", remedy=_REMEDY, path=shown)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("an object has a key twice")
    return table


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
