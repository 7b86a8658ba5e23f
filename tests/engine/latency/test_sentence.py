"""What the figures say in words."""

from app.engine.latency.sentence import sentence
from app.report import LatencyRow


def row(batch: int, ratio: float, low: float, high: float) -> LatencyRow:
    shape = ((batch, 3, 8, 8),)
    return LatencyRow(
        batch=batch, shape=shape, before_ms=10 * ratio, after_ms=10, ratio=ratio, spread=(low, high), repeats=9
    )


def test_faster_at_every_batch_size_is_one_sentence():
    said = sentence([row(1, 1.5, 1.4, 1.6), row(8, 1.25, 1.2, 1.3)])
    assert said == "The fused model runs 1.50 times as fast at batch size 1 and 1.25 times as fast at batch size 8."


def test_a_ratio_that_the_spread_does_not_bear_out_is_no_difference():
    said = sentence([row(1, 1.5, 0.9, 1.6), row(8, 1.01, 1.0, 1.01)])
    assert said.startswith("Fusing makes no difference that could be measured here at batch size 1 and 8: ")


def test_what_the_runtime_does_by_itself_is_the_reason_where_there_is_no_difference():
    assert "the runtime does so" in sentence([row(1, 1.0, 0.99, 1.01)], "the runtime does so")


def test_slower_is_said_to_be_slower():
    said = sentence([row(1, 1.5, 1.4, 1.6), row(8, 0.8, 0.7, 0.9)])
    assert "runs slower here, 0.80 times as fast at batch size 8" in said
    assert "keep the original" in said
