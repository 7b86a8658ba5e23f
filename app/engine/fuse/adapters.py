"""LoRA layers that stay as they are, and why."""

from collections.abc import Container, Iterator

from app.engine.forward.families import family_of
from app.engine.forward.trace import trace
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.interpret.affine import Cut
from app.engine.ir.module import Module

_LIBRARIES = ("peft.tuners.", "loralib.layers.")
_THIN = ("lora_A", "lora_B", "lora_embedding_A")


def unmerged(root: Module, called: Container[int]) -> Iterator[Cut]:
    """Every LoRA layer that was not read; `called` are the nodes, by id, of the modules that were."""
    for module in root.walk():
        held = module.class_path.startswith(_LIBRARIES) and any(module.has(name) for name in _THIN)
        if held and id(module.node) not in called:
            yield Cut(module.path, "adapter-not-merged", f"its low-rank adapter stays beside its layer: {_why(module)}")


def _why(module: Module) -> str:
    family = family_of(module)
    if family is None:
        return f"no description fits class {module.class_path} with these attributes"
    try:
        trace(module, family.example_shapes(module) or (), family_of)
    except (UnknownFlow, IndexError) as error:
        return error.reason if isinstance(error, UnknownFlow) else "what it takes is not known"
    return "what calls it is not followed"
