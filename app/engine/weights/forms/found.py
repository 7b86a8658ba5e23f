"""What is told of weights that a file holds in parts, before anybody says what to do with them."""

from collections.abc import Iterator

from app.engine.ir.module import Module
from app.engine.weights.forms.norms import normed_layers

_SHOWN = 3
_NORMS = {"weight_norm": "weight norm", "spectral_norm": "spectral norm"}


def forms_found(root: Module) -> Iterator[str]:
    """A sentence for each kind, with the words in which to ask for it."""
    for kind, name in _NORMS.items():
        paths = [layer.path for layer, _ in normed_layers(root, kind)]
        if paths:
            yield f'{_weights(paths)} in parts, by {name}: plan={{"{kind}": "all"}} computes what they make'
    adapted = [module.path for module in root.walk() if module.has("lora_A") and module.has("lora_B")]
    if adapted:
        yield (
            f'{_weights(adapted)} beside low-rank adapters: plan={{"lora": {{"scaling": alpha / r}}}} merges them, '
            "if they were not merged before"
        )


def _weights(paths: list[str]) -> str:
    shown = ", ".join(path[:80] for path in paths[:_SHOWN]) + (", ..." if len(paths) > _SHOWN else "")
    return f"{len(paths):,} {'weight is' if len(paths) == 1 else 'weights are'} held ({shown})"
