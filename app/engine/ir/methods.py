"""Methods that run when a module is called: an instance attribute of such a name takes the method's place."""

from functools import cache
from typing import Final

from torch import nn

_LAYERS: Final = "torch.nn.modules."
_OF_EVERY_MODULE: Final = frozenset({"_call_impl", "_wrapped_call_impl", "_compiled_call_impl", "_slow_forward"})
_IN_CONVOLUTIONS: Final = frozenset({"_conv_forward", "_output_padding"})


@cache
def run_by_call(class_path: str) -> frozenset[str]:
    """What calling a module of this class may run beside its forward: of torch.nn's own, all that its class adds."""
    layer = getattr(nn, class_path.rpartition(".")[2], None) if class_path.startswith(_LAYERS) else None
    added = set(dir(layer)) - set(dir(nn.Module)) if isinstance(layer, type) else set()
    return _OF_EVERY_MODULE | _IN_CONVOLUTIONS | {name for name in added if callable(getattr(layer, name))}
