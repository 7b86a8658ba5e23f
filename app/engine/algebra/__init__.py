"""ConvMap and its identities: tensors in, tensors out. Each identity is exact, or a Refusal says why it is not."""

from app.engine.algebra.affine import (
    affine_before_refusal,
    batch_norm_affine,
    fold_affine,
    fold_affine_before,
    shift_before_refusal,
)
from app.engine.algebra.branches import concat, concat_plan, merge, merge_plan
from app.engine.algebra.compose import compose, compose_plan
from app.engine.algebra.convmap import Affine, ConvMap, Geometry, Plan, Refusal
from app.engine.algebra.lift import (
    average_pool_map,
    dense,
    identity_map,
    identity_plan,
    identity_rows,
    pad_kernel,
    regroup,
    regroup_plan,
    space_to_depth_map,
    spread,
    to_window,
    undilate,
)
from app.engine.algebra.rounding import Rounded, representable, round_map, round_once, round_weight

__all__ = [
    "Affine",
    "ConvMap",
    "Geometry",
    "Plan",
    "Refusal",
    "Rounded",
    "affine_before_refusal",
    "average_pool_map",
    "batch_norm_affine",
    "compose",
    "compose_plan",
    "concat",
    "concat_plan",
    "dense",
    "fold_affine",
    "fold_affine_before",
    "identity_map",
    "identity_plan",
    "identity_rows",
    "merge",
    "merge_plan",
    "pad_kernel",
    "regroup",
    "regroup_plan",
    "representable",
    "round_map",
    "round_once",
    "round_weight",
    "shift_before_refusal",
    "space_to_depth_map",
    "spread",
    "to_window",
    "undilate",
]
