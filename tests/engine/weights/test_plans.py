"""`plan=` on state dicts: the caller says which layer feeds which norm."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from app.engine import fuse_checkpoint
from app.engine.caller_plan import CallerPlan
from app.errors import InvalidOption, InvalidPlan, NeedsArchitecture
from app.options import FuseOptions
from tests.engine.weights.nets import Odd, randomised

PAIRS = [
    {"conv": "conv1", "norm": "bn1", "eps": 1e-3},
    {"conv": "conv2", "norm": "pre", "order": "norm-first", "padding": 0},
    {"conv": "up", "norm": "bn3", "transposed": True},
    {"linear": "fc", "norm": "bn4"},
]


def fused(path, pairs, tmp_path, **options):
    target = tmp_path / "out.pth"
    plan = json.dumps({"pairs": pairs})
    return fuse_checkpoint(path, target, FuseOptions(plan=plan, **options), filename=path.name), target


@pytest.fixture
def net():
    return randomised(Odd())


@pytest.fixture
def source(net, tmp_path):
    torch.save(net.state_dict(), tmp_path / "net.pth")
    return tmp_path / "net.pth"


def test_every_pair_of_a_plan_is_folded_and_the_model_computes_the_same(net, source, tmp_path):
    report, target = fused(source, PAIRS, tmp_path)

    plain = Odd()
    for name in ("bn1", "pre", "bn3", "bn4"):
        setattr(plain, name, nn.Identity())
    plain.conv1.bias = nn.Parameter(torch.zeros(8))
    plain.load_state_dict(torch.load(target, weights_only=True), strict=True)
    x = torch.randn(2, 3, 9, 7)
    torch.testing.assert_close(plain.eval()(x), net(x), rtol=2e-5, atol=2e-6)
    assert report.summary.batch_norms_after == 0
    assert all(part.assumed and part.read_as == "caller's plan" for part in report.replaced)
    assert report.equivalence is not None
    assert report.equivalence.identity.relative < 1e-12


def test_without_a_plan_or_an_architecture_the_problem_says_why(source, tmp_path):
    with pytest.raises(NeedsArchitecture, match="neither the layers' eps nor the data flow"):
        fuse_checkpoint(source, tmp_path / "out.pth", FuseOptions(), filename="net.pth")


@pytest.mark.parametrize(
    ("pair", "path"),
    [
        ({"conv": "conv9", "norm": "bn1"}, "conv9"),
        ({"conv": "conv1", "norm": "bn3000"}, "bn3000"),
        ({"conv": "conv2", "norm": "bn1"}, "bn1"),
        ({"conv": "fc", "norm": "bn4"}, "fc"),
        ({"conv": "bn3", "norm": "bn1"}, "bn3"),
    ],
)
def test_a_pair_that_does_not_fit_the_file_is_named(pair, path, source, tmp_path):
    with pytest.raises(InvalidPlan) as caught:
        fused(source, [pair, PAIRS[2]], tmp_path)

    assert caught.value.facts["path"] == path


def test_what_was_recognised_is_told_between_reading_and_fusing(source, tmp_path):
    order = []
    options = FuseOptions(plan=json.dumps({"pairs": PAIRS}))

    fuse_checkpoint(source, tmp_path / "out.pth", options, filename="net.pth", progress=order.append, tell=order.append)

    assert [part if isinstance(part, str) else part.batch_norms for part in order] == [
        *("reading", 4, "fusing", "verifying", "writing")
    ]


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ("", "not JSON"),
        ("[]", "not valid"),
        ("{}", "pairs"),
        ('{"pairs": []}', "pairs"),
        ('{"pairs": [], "pairs": []}', "twice"),
        ('{"pairs": [{"conv": "conv1", "norm": "bn1"}], "eps": NaN}', "NaN"),
        ('{"pairs": [{"conv": "conv1", "norm": "bn1"}], "eps": -1}', "eps"),
        ('{"pairs": [{"conv": "conv1", "norm": "bn1"}], "eps": 1e999}', "eps"),
        ('{"pairs": [{"conv": "conv1", "norm": "bn1", "more": 1}]}', "pairs.0.more"),
        ('{"pairs": [{"conv": "conv1", "linear": "fc", "norm": "bn1"}]}', "one of conv and linear"),
        ('{"pairs": [{"norm": "bn1"}]}', "one of conv and linear"),
        ('{"pairs": [{"conv": "", "norm": "bn1"}]}', "pairs.0.conv"),
        ('{"pairs": [{"conv": 3, "norm": "bn1"}]}', "pairs.0.conv"),
        ('{"pairs": [{"conv": "conv1", "norm": "bn1", "order": "norm-first"}]}', "padding"),
        (
            '{"pairs": [{"conv": "up", "norm": "bn3", "order": "norm-first", "padding": 0, "transposed": true}]}',
            "fused",
        ),
        ('{"pairs": [{"conv": "conv1", "norm": "bn1"}, {"conv": "conv1", "norm": "bn3"}]}', "conv1 is named twice"),
        ('{"pairs": [{"conv": "bn1", "norm": "bn1"}]}', "bn1 is named twice"),
        ('{"pairs": [{"conv": "conv1", "norm": "\\ud800"}]}', "unicode"),
        ('{"pairs": [{"conv": "__proto__", "norm": "../../etc/passwd"}]}', "__proto__"),
        ('{"pairs": [{"conv": "conv1..weight", "norm": "bn1"}]}', "conv1..weight"),
        ('{"pairs": ' + "[" * 100_000, "JSON"),
        ('{"pairs": [{"conv": "' + "a" * 190_000 + '", "norm": "bn1"}]}', "500 characters"),
        ('{"pairs": [{"conv": "conv1", "norm": "bn1"}], "eps": true}', "eps"),
        ('{"pairs": [{"conv": "conv1", "norm": "bn1", "eps": "1e-3"}]}', "eps"),
        ('{"pairs": [{"conv": "conv2", "norm": "pre", "order": "norm-first", "padding": false}]}', "padding"),
    ],
)
def test_a_plan_that_can_not_be_is_refused_with_where_it_is_wrong(plan, said, source, tmp_path):
    with pytest.raises(InvalidPlan) as caught:
        fuse_checkpoint(source, tmp_path / "out.pth", FuseOptions(plan=plan), filename="net.pth")

    assert said in caught.value.detail
    assert len(caught.value.detail) < 1000
    caught.value.detail.encode()


def test_a_norm_before_a_convolution_that_pads_is_refused_with_the_reason(source, tmp_path):
    report, target = fused(source, [{**PAIRS[1], "padding": 1}], tmp_path)

    assert not report.replaced
    assert ("pre", "border-differs") in {(part.path, part.code) for part in report.refused}
    assert "pre.weight" in torch.load(target, weights_only=True)


@pytest.mark.parametrize("options", [{"strict": True}, {"architecture": "repvgg"}, {"probe_shape": "1x3x8x8"}])
def test_options_that_contradict_a_plan_are_refused(options, source, tmp_path):
    with pytest.raises(InvalidOption):
        fused(source, PAIRS, tmp_path, **options)


def test_pickled_modules_of_an_unknown_class_are_fused_by_a_plan(net, tmp_path):
    torch.save(net, tmp_path / "net.pt")
    plain = net(x := torch.randn(2, 3, 9, 7))
    without = fuse_checkpoint(tmp_path / "net.pt", tmp_path / "none.pt", FuseOptions(), filename="net.pt")

    report, target = fused(tmp_path / "net.pt", PAIRS, tmp_path)

    loaded = torch.load(target, weights_only=False)
    torch.testing.assert_close(loaded(x), plain, rtol=2e-5, atol=2e-6)
    assert not without.replaced
    assert report.summary.batch_norms_after == 0
    assert all(part.assumed and part.read_as == "caller's plan" for part in report.replaced)
    assert any("plan=" in note for note in report.notes)


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ({"conv": "conv1", "norm": "bn1", "eps": 1e-5}, "eps 0.001 in the file"),
        ({"conv": "conv9", "norm": "bn1"}, "no module of the file"),
        ({"conv": "fc", "norm": "bn4"}, "not read as a conv"),
        ({"conv": "conv1", "norm": "bn3", "eps": 1e-5, "order": "norm-first", "padding": 1}, "can't be paired"),
    ],
)
def test_a_pair_that_does_not_fit_the_modules_is_refused(pair, said, net, tmp_path):
    torch.save(net, tmp_path / "net.pt")

    with pytest.raises(InvalidPlan, match=said):
        fused(tmp_path / "net.pt", [pair], tmp_path)


def test_an_eps_that_the_plan_gives_for_all_leaves_the_eps_of_pickled_modules(net, tmp_path):
    torch.save(net, tmp_path / "net.pt")
    plan = json.dumps({"pairs": PAIRS[:1], "eps": 0.5})

    report = fuse_checkpoint(tmp_path / "net.pt", tmp_path / "out.pt", FuseOptions(plan=plan), filename="net.pt")

    assert report.equivalence is not None
    assert report.equivalence.passed


def test_a_plan_says_nothing_of_a_graph_file(tmp_path):
    program = torch.export.export(nn.Conv2d(3, 4, 1).eval(), (torch.randn(1, 3, 5, 5),))
    torch.export.save(program, tmp_path / "net.pt2")

    with pytest.raises(InvalidOption, match="graph file"):
        fused(tmp_path / "net.pt2", PAIRS, tmp_path)


def test_the_published_schema_of_plans_is_the_one_of_the_code():
    schema = Path(__file__).parents[3] / "docs" / "plan.schema.json"

    assert json.loads(schema.read_text()) == CallerPlan.model_json_schema()
