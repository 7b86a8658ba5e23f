import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """The models are small: threads would only wait for one another."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
