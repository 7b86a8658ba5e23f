"""Which parts of a tree are followed as one."""

import pytest
import torch
from torch import nn

from app.engine.formats import read_file
from app.engine.fuse.units import families_read, find_units
from app.engine.ir.module import Module
from tests.engine.nets import Unknown, norm, pair


@pytest.fixture
def units(tmp_path):
    def read(model):
        torch.save(model, tmp_path / "m.pt")
        return find_units(Module(read_file(tmp_path / "m.pt").root))

    return read


def test_a_described_model_is_one_unit(units):
    found = units(nn.Sequential(pair(nn.Conv2d(3, 4, 3)), nn.Conv2d(4, 2, 1)))
    assert found.whole
    assert [unit.module.path for unit in found.units] == [""]
    assert not found.unknown
    read = {path.rpartition(".")[2]: count for (path, *_), count in families_read(found.units).items()}
    assert read == {"Sequential": 2, "Conv2d": 2, "BatchNorm2d": 1, "SiLU": 1}


def test_the_blocks_of_an_unknown_class_are_units_that_rest_on_an_assumption(units):
    found = units(Unknown(a=pair(nn.Conv2d(3, 4, 3)), b=Unknown(c=pair(nn.Conv2d(4, 4, 3))), bn=norm(4)))
    assert not found.whole
    assert [(unit.module.path, unit.assumed) for unit in found.units] == [("a", True), ("b.c", True)]
    assert [(cut.path, cut.code) for cut in found.unknown] == [("bn", "data-flow-not-proven")]


def test_what_an_unknown_layer_splits_is_still_proven_by_the_sequential_around_it(units):
    found = units(nn.Sequential(nn.Conv2d(3, 4, 3), norm(4), Unknown(bn=norm(4)), nn.Conv2d(4, 4, 3), norm(4)))
    assert [len(unit.trace.graph.nodes) for unit in found.units] == [2, 2]
    assert not any(unit.assumed for unit in found.units)
    assert [cut.path for cut in found.unknown] == ["2.bn"]


def test_a_run_starts_at_the_first_layer_that_states_its_channels(units):
    found = units(nn.Sequential(Unknown(), nn.ReLU(), nn.Flatten(0, 1), nn.Conv2d(3, 4, 3), norm(4)))
    assert [len(unit.trace.graph.nodes) for unit in found.units] == [2]


def test_a_shared_block_is_one_unit(units):
    block = pair(nn.Conv2d(3, 3, 3))
    assert [unit.module.path for unit in units(Unknown(a=block, b=block)).units] == ["a"]
