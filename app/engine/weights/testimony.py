"""What the code that the weights belong to says of the written file, put into the figures."""

from collections.abc import Callable
from dataclasses import replace

from app.engine.verify.compare import tensors
from app.engine.verify.equivalence import IDENTITY_LIMIT, Figures
from app.engine.weights.container import Tensors, stored
from app.engine.weights.job import WeightsJob
from app.engine.work import Evidence, Plan
from app.errors import NotEquivalent


def testimony_on(
    job: WeightsJob, plan: Plan, after: Tensors, evidence: Evidence, device: str
) -> Callable[[Figures], tuple[Figures, str]]:
    """Figures with the worse of both in float64, and of the native dtype what that code makes of it."""

    def testify(figures: Figures) -> tuple[Figures, str]:
        witness = job.blueprint.witness
        baseline = evidence.units[0] if evidence.units else None
        if witness is None or baseline is None:
            return figures, ""
        names = (name for name in after if name.startswith(job.prefix))
        written = {name.removeprefix(job.prefix): stored(after[name]).read() for name in names}
        followed = plan.units is job.blueprint.units  # a program puts out what its islands read, beside its own
        own, beside = baseline.proof.outputs if followed else (baseline.proof.outputs, ())
        whole = not beside and len(baseline.graph.inputs) == 1
        found = witness(written, baseline.inputs[:1], list(tensors(own)), evidence.native, device)
        if isinstance(found, str):
            return figures, f"none: {found}"
        if whole and not found.reading <= IDENTITY_LIMIT:
            raise NotEquivalent(
                f"our reading of the model is off by {found.reading:.3g} from what {found.by} computes",
                remedy="This is a bug: please report it with the architecture's name.",
            )
        seen = replace(
            figures,
            stored=max(figures.stored, found.stored),
            native=max(figures.native, found.native),
            native_noise=max(figures.native_noise, found.native_noise),
        )
        return seen, found.by

    return testify
