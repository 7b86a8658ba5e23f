"""Counting a tree as torch counts it."""

import pytest
import torch
from torch import nn

from app.engine.formats import read_file
from app.engine.fuse.census import count, first_not_finite
from app.engine.ir.module import Module
from tests.engine.nets import BATCH_NORMS, CONVS, Unknown, counted, norm


@pytest.fixture
def root(tmp_path):
    def read(model):
        torch.save(model, tmp_path / "m.pt")
        return Module(read_file(tmp_path / "m.pt").root)

    return read


def test_shared_modules_and_tied_parameters_count_once(root):
    shared = nn.Sequential(nn.Conv2d(3, 3, 3), norm(3))
    model = Unknown(a=shared, b=shared, c=nn.ConvTranspose1d(2, 2, 2), d=nn.SyncBatchNorm(4), e=nn.Linear(2, 2))
    model.e.weight = nn.Parameter(torch.zeros(2, 2))
    model.tied = model.e.weight
    found = count(root(model))
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert found.batch_norms == counted(model, BATCH_NORMS) == 2
    assert found.convolutions == counted(model, CONVS) == 2
    assert found.dtype == torch.float32


def test_the_dtype_is_that_of_most_numbers(root):
    assert count(root(Unknown(a=nn.Linear(9, 9).half(), b=nn.Linear(2, 2)))).dtype == torch.float16
    assert count(root(nn.ReLU())).dtype == torch.float32


def test_the_first_parameter_that_is_not_finite_is_named(root):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    assert first_not_finite(root(model)) is None
    model[1].bias.data[1] = torch.inf
    assert first_not_finite(root(model)) == "1.bias"
