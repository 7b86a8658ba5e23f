"""What torch.export says of a model of any class, as regions of the layers that a state dict names."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from app.engine.fuse.replace import Fusion, apply, plan_fusion
from app.engine.fuse.survey import survey
from app.engine.interpret.numeric import run
from app.engine.ir.module import Module
from app.engine.ir.tensors import buffer
from app.engine.zoo.deployed import deployed, loaded
from app.engine.zoo.export import exported
from app.engine.zoo.flow import traced
from app.engine.zoo.rewritten import Again
from app.engine.zoo.tree import tree_of
from app.errors import UnsupportedContent
from tests.engine.zoo.nets import Kept, Odd, RepDepthwiseSeparable, trained


@dataclass(frozen=True)
class Done:
    root: Module
    fusion: Fusion
    again: Again
    tensors: Mapping[str, Tensor]  # of the edited tree


def fused(net: nn.Module, size: tuple[int, ...]) -> Done:
    nodes = {name: buffer(tensor) for name, tensor in net.state_dict().items()}
    root = tree_of(net, nodes)
    flow = exported(net, [size], type(net).__name__)
    trace = traced(flow.program(), flow.stacks, root)
    again = Again.of(trace, root)
    fusion = plan_fusion(trace, survey(root), None)
    apply(fusion, root)
    tensors = {module.at(name): held.read() for module in root.walk() for name, held in module.tensors()}
    return Done(root, fusion, again, tensors)


def test_norms_of_any_class_go_into_the_layers_that_the_flow_proves() -> None:
    done = fused(trained(Odd()), (3, 16, 20))

    assert done.fusion.cuts == ()
    assert [part.path for part in done.fusion.replacements] == ["stem", "depthwise", "point", "head"]
    assert set(done.tensors) == {
        *(f"{layer}.{name}" for layer in ("stem", "depthwise", "point", "head") for name in ("weight", "bias"))
    }


def test_what_is_left_loads_strictly_into_the_model_without_norms_and_computes_the_same() -> None:
    net = trained(Odd())
    done = fused(net, (3, 16, 20))
    x = torch.randn(3, 3, 24, 16, generator=torch.Generator().manual_seed(1))

    model = loaded(deployed(trained(Odd()), done.tensors), done.tensors)

    assert isinstance(model.last, nn.Identity)
    torch.testing.assert_close(model(x), net(x), rtol=1e-5, atol=1e-5)


def test_the_written_tensors_in_the_same_flow_compute_what_the_model_does() -> None:
    net = trained(Odd()).double()
    done = fused(net, (3, 16, 20))
    x = torch.rand(2, 3, 16, 20, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    outputs, _ = run(done.again(done.root).graph, [x], torch.float64, "cpu")

    torch.testing.assert_close(outputs[0], net(x), rtol=1e-12, atol=1e-12)


def test_no_layer_changes_that_a_loader_could_not_be_given() -> None:
    net = trained(Kept())
    done = fused(net, (4, 12, 16))

    assert done.fusion.replacements == ()
    assert done.tensors.keys() == net.state_dict().keys()
    assert {cut.path for cut in done.fusion.cuts} >= {"norm", "padded_norm", "standardised_norm", "read_norm"}


def test_a_layer_beside_the_slots_of_its_block_takes_in_its_own_norm() -> None:
    net = trained(nn.Sequential(nn.ReLU(), RepDepthwiseSeparable()))
    done = fused(net, (4, 12, 16))
    x = torch.randn(2, 4, 10, 9, generator=torch.Generator().manual_seed(4))

    depthwise, pointwise = (
        (done.tensors[f"1.{path}.weight"], done.tensors[f"1.{path}.bias"]) for path in ("dw_conv", "pw_conv.0")
    )

    y = nn.functional.conv2d(nn.functional.relu(x), *depthwise, padding=2, groups=4)
    y = nn.functional.conv2d(nn.functional.relu(y), *pointwise)
    torch.testing.assert_close(y, net(x), rtol=1e-4, atol=1e-5)
    assert len(done.tensors) == 4
    assert done.fusion.cuts == ()


def test_half_precision_weights_stay_so() -> None:
    net = trained(Odd()).half()
    nodes = {name: buffer(tensor) for name, tensor in net.state_dict().items()}
    root = tree_of(net, nodes)
    flow = exported(trained(Odd()), [(3, 16, 20)], "Odd")

    fusion = plan_fusion(traced(flow.program(), flow.stacks, root), survey(root), None)

    assert {part.weight.dtype for part in fusion.replacements} == {torch.float16}


def test_a_model_of_which_the_export_makes_nothing_is_refused_with_its_reason() -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if float(x.sum()) > 0 else -x

    with pytest.raises(UnsupportedContent, match=r"torch.export can't follow the code of Branching"):
        exported(Branching(), [(3, 8, 8)], "Branching")
