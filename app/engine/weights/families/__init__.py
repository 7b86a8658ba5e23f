"""Published block families by the names of their state dicts: which class each block is, with which geometry."""

from collections.abc import Sequence
from typing import Final

from app.engine.weights.blueprint import Blueprint, Match, Mismatch, Provider
from app.engine.weights.container import Tensors
from app.engine.weights.families import (
    acnet,
    conv_norm,
    dbb,
    mobileone,
    orepa,
    qarepvgg,
    replknet,
    repvgg,
    ultralytics,
    unireplknet,
    yolov7,
    yolov9,
    yolov10,
)
from app.engine.weights.families.form import BlockForm, FamilyForm, build_family, share_of
from app.engine.weights.tree import tree_of
from app.engine.weights.wanted import Architecture

_FORMS: Final[dict[str, FamilyForm]] = {
    form.name: form
    for form in (
        *(repvgg.FORM, qarepvgg.FORM, mobileone.FORM, dbb.FORM, acnet.FORM, orepa.FORM),
        *(replknet.FORM, unireplknet.FORM, yolov7.FORM),
        *ultralytics.FORMS,
        *(yolov9.FORM, yolov10.FORM),
        *conv_norm.FORMS,
    )
}


def _build(wanted: Architecture, tensors: Tensors) -> Blueprint | Mismatch:
    return build_family(_FORMS[wanted.name.lower()], wanted, tensors)


def _matches(tensors: Tensors) -> Sequence[Match]:
    root, _ = tree_of(tensors)
    apart: dict[tuple[BlockForm, ...], FamilyForm] = {}
    for form in sorted(_FORMS.values(), key=lambda form: not form.known_by(root)):
        apart.setdefault(form.blocks, form)  # of those with the same blocks the first, or the one that is sure
    shares = {form: share_of(form, root, len(tensors)) for form in apart.values()}
    return [
        Match(form.name, share, f"{share:.0%} of the tensors have the names of {form.title} blocks")
        for form, share in shares.items()
        if share > 0
    ]


FAMILIES_PROVIDER: Final = Provider(
    "families",
    knows=lambda name: name.lower() in _FORMS,
    build=_build,
    matches=_matches,
    listed=lambda: tuple(_FORMS),
)
