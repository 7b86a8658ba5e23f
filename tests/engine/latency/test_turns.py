"""Two models take turns, and medians are of the turns."""

from app.engine.latency.contest import Pair
from app.engine.latency.turns import Turn, medians, quartiles, take_turns


def test_each_turn_runs_both_once_and_the_first_one_changes():
    calls: list[str] = []
    pair = Pair(lambda: calls.append("before"), lambda: calls.append("after"), ((1, 3),), 0)
    turns = take_turns(pair, 3, "cpu")
    assert calls == ["before", "after", "after", "before", "before", "after"]
    assert len(turns) == 3
    assert all(turn.before > 0 and turn.after > 0 for turn in turns)


def test_a_turn_in_which_the_machine_was_busy_moves_no_median():
    turns = [Turn(0.004, 0.002), Turn(0.004, 0.002), Turn(4.0, 0.002), Turn(0.004, 0.002), Turn(0.004, 3.0)]
    assert medians(turns) == (4.0, 2.0, 2.0)
    assert quartiles(turns) == (2.0, 2.0)
