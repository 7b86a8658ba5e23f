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
        original = loaded(self.build(), self.before())
        seen = list(tensors(outputs(original, inputs, native, device)))
        exact = list(tensors(outputs(original, inputs, torch.float64, device)))
        del original
        try:
            model = loaded(deployed(self.build(), after), after)
        except (RuntimeError, TypeError, AttributeError) as error:  # of the package's own deploy methods, too
            return f"the package's own deploy form does not take the written tensors ({str(error)[:200]})"
        native_seen = list(tensors(outputs(model, inputs, native, device)))
        stored_seen = list(tensors(outputs(model, inputs, torch.float64, device)))
        return Testimony(
            stored=relative_error(stored_seen, exact),
            native=relative_error(native_seen, exact),
            native_noise=relative_error(seen, exact),
            reading=relative_error(list(reference), exact),
            by=f"{self.package} {version(self.package)}",
        )
