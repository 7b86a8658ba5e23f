"""Which batch sizes are run."""

import pytest

from app.engine.latency import Contest, Pair, Unmeasured, measure


def contest(sizes: dict[int, tuple[int, int] | None]) -> Contest:
    """One that answers a batch size with another (or None), at so many bytes."""

    def at(batch: int) -> Pair | None:
        found = sizes[batch]
        return None if found is None else Pair(lambda: None, lambda: None, ((found[0], 3),), found[1])

    return Contest("a runtime", "float32", at)


def test_one_row_a_batch_size():
    found = measure(contest({1: (1, 0), 8: (8, 0)}), "cpu")
    assert not isinstance(found, Unmeasured)
    assert [(row.batch, row.shape) for row in found.rows] == [(1, ((1, 3),)), (8, ((8, 3),))]
    assert (found.runtime, found.dtype, found.device) == ("a runtime", "float32", "cpu")
    assert all(5 <= row.repeats <= 50 for row in found.rows)


@pytest.mark.parametrize("eight", [None, (4, 0), (8, 1 << 40)], ids=["not taken", "the same sizes", "too large"])
def test_a_batch_size_that_can_not_be_run_has_no_row(eight):
    found = measure(contest({1: (4, 0), 8: eight}), "cpu")
    assert not isinstance(found, Unmeasured)
    assert [row.batch for row in found.rows] == [4]


def test_no_row_at_all_is_a_reason():
    found = measure(contest({1: None, 8: None}), "cpu")
    assert isinstance(found, Unmeasured)
    assert "batch size" in found.reason
