"""python -m bench.families.row NAME: one row of the table as JSON, in a process of its own."""

import copy
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import timm
import torch
from timm.utils.model import reparameterize_model
from torch import Tensor, nn

from app.engine.zoo.deployed import deployed, loaded
from bench.families.left import Left, left
from bench.families.models import calibrated, pictures
from bench.families.ours import ROOT, Fused, fuse

CHECKPOINTS = ROOT.parent / "shared" / "checkpoints" / "families"
AUTHORS = "authors/"
_IMAGES, _BATCH = 3, 2


@dataclass(frozen=True, slots=True)
class Ours:
    """What Fusebox left: `identity`, `scope` and the `codes` of what it refused are its report's word."""

    left: Left | None
    identity: float
    scope: str
    codes: dict[str, int]
    seconds: float
    peak_mib: float
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    before: Left
    theirs: Left
    module: Ours  # from the pickled module
    weights: Ours  # from the state dict and `architecture=`


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    (name,) = sys.argv[1:]
    row = _authors_row(name.removeprefix(AUTHORS)) if name.startswith(AUTHORS) else _timm_row(name)
    print(json.dumps(asdict(row)))


def _timm_row(name: str) -> Row:
    model = calibrated(name, seed=0)
    images = [pictures(model, _BATCH) for _ in range(_IMAGES)]
    exact = copy.deepcopy(model).double()
    references = [exact(x.double()) for x in images]
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        torch.save(model, at / "module.pt")
        torch.save(model.state_dict(), at / "weights.pth")
        fused = fuse(at / "module.pt", at / "module.fused.pt")
        module = _run(fused, lambda: torch.load(at / "module.fused.pt", weights_only=False), images, references)
        fused = fuse(at / "weights.pth", at / "weights.fused.pth", "--architecture", f"timm/{name}")
        weights = _run(fused, lambda: _deployed(name, at / "weights.fused.pth"), images, references)
    before = left(model, images, references)
    return Row(name, before, left(reparameterize_model(model), images, references), module, weights)


def _deployed(name: str, path: Path) -> nn.Module:
    """timm's own model with the tensors of the file, loaded strictly."""
    state: dict[str, Tensor] = torch.load(path)
    return loaded(deployed(timm.create_model(name), state), state)


def _run(
    fused: Fused | str, load: Callable[[], nn.Module], images: Sequence[Tensor], references: Sequence[Tensor]
) -> Ours:
    """The fused file in timm's own code."""
    if isinstance(fused, str):
        return Ours(None, float("inf"), "none", {}, 0, 0, fused)
    problem, found = "", None
    try:
        found = left(load().eval(), images, references)
    except Exception as error:  # whatever the package's code makes of the file is a cell of the table
        problem = f"not loaded: {type(error).__name__}: {str(error)[:200]}"
    return _told(fused, found, problem)


def _told(fused: Fused, found: Left | None, problem: str = "") -> Ours:
    equivalence = fused.report["equivalence"]
    codes: dict[str, int] = {}
    for cut in fused.report["refused"]:
        codes[cut["code"]] = codes.get(cut["code"], 0) + 1
    identity, scope = equivalence["identity"]["relative"], equivalence["scope"]
    return Ours(found, identity, scope, codes, fused.seconds, fused.peak_mib, problem)


def _authors_row(name: str) -> Row:
    """A checkpoint of the authors' own code, which is not here: the errors of ours are the report's, theirs a fact."""
    facts = next(
        fact
        for fact in json.loads((CHECKPOINTS / "facts.json").read_text())
        if fact["checkpoint"] == f"families/{name}.pt"
    )
    own = facts["own_deploy"]
    error = own["max_abs_error"] / facts["output_abs_max"]
    before = Left(facts["batch_norms_before"], facts["convolutions_before"], facts["parameters_before"], 0.0, 0.0)
    theirs = Left(own["batch_norms_left"], own["convolutions_left"], own["parameters_after"], float("nan"), error)
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        module = _reported(fuse(CHECKPOINTS / f"{name}.pt", at / "module.pt"))
        weights = _reported(fuse(CHECKPOINTS / f"{name}.state_dict.pth", at / "weights.pth", "--architecture", name))
    return Row(AUTHORS + name, before, theirs, module, weights)


def _reported(fused: Fused | str) -> Ours:
    if isinstance(fused, str):
        return Ours(None, float("inf"), "none", {}, 0, 0, fused)
    summary, equivalence = fused.report["summary"], fused.report["equivalence"]
    counts = (summary[f"{what}_after"] for what in ("batch_norms", "convolutions", "parameters"))
    return _told(fused, Left(*counts, equivalence["stored"]["relative"], equivalence["native"]["relative"]))


if __name__ == "__main__":
    main()
