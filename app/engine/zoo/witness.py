"""Original and written tensors in the package's own code, side by side: evidence that owes nothing to our readings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import torch
from torch import Tensor

from app.engine.verify.compare import relative_error, tensors
from app.engine.weights.blueprint import Testimony
from app.engine.zoo.deployed import deployed, loaded, outputs

Named = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Witness:
    """Builds the package's model as often as it is asked to testify."""

    package: str
    build: Callable[[], torch.nn.Module]
    before: Callable[[], Named]  # the file's tensors, by the model's names

    def __call__(
        self, after: Named, inputs: Sequence[Tensor], reference: Sequence[Tensor], native: torch.dtype, device: str
    ) -> Testimony | str:
        """What running both shows; a sentence that says why the package's model does not take the written tensors."""
        try:
            seen, exact = _both(loaded(self.build(), self.before()), inputs, native, device)
        except Exception as error:  # whatever the package's own code makes of an input or a dtype
            return f"the package's own code does not run the original on the probe ({_said(error)})"
        try:
            model = loaded(deployed(self.build(), after), after)
            native_seen, stored_seen = _both(model, inputs, native, device)
        except Exception as error:  # of the package's own deploy methods, too
            return f"the package's own deploy form does not take the written tensors ({_said(error)})"
        return Testimony(
            stored=relative_error(stored_seen, exact),
            native=relative_error(native_seen, exact),
            native_noise=relative_error(seen, exact),
            reading=relative_error(list(reference), exact),
            by=f"{self.package} {version(self.package)}",
        )


def _both(
    model: torch.nn.Module, inputs: Sequence[Tensor], native: torch.dtype, device: str
) -> tuple[list[Tensor], list[Tensor]]:
    """What the model makes of the inputs in the native dtype, and in float64.

    In float64 first: the model is cast in place, and a file of several dtypes loses numbers in the native one.
    """
    exact, native_seen = (list(tensors(outputs(model, inputs, dtype, device))) for dtype in (torch.float64, native))
    return native_seen, exact


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"
