"""Calls take turns by an injected clock; medians, quartiles and ratios by hand."""

from itertools import count

import pytest

from benchmarks.harness.figures import Figure, ratio, spread, take_turns
from benchmarks.settings import Settings


def test_calls_take_turns_and_warm_ups_do_not_count():
    order, paused = [], []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    settings = Settings("cpu", num_calls=2, num_warm_up=1, pause=lambda: paused.append(len(order)))
    ticks = count()
    timings = take_turns(calls, settings, burst=2, clock=lambda: float(next(ticks)))
    assert "".join(order) == "aabb" * 3
    assert paused == [0, 4, 8]  # before every turn
    assert timings["a"] == Figure(500.0, "ms", 500.0, 500.0, turns=(500.0, 500.0))


def test_the_median_and_the_quartiles_by_hand():
    assert spread([5.0, 1.0, 2.0, 4.0, 3.0], "s")[:4] == (3.0, "s", 2.0, 4.0)
    assert spread([2.0], "s") == Figure(2.0, "s")


def test_a_rate_is_of_every_turn():
    figure = spread([100.0, 200.0, 400.0], "ms").rate(4, "images/s")
    assert figure == Figure(20.0, "images/s", 15.0, 30.0, turns=(40.0, 20.0, 10.0))


def test_a_ratio_is_of_medians_with_the_spread_of_turns():
    ours, theirs = spread([2.0, 4.0, 9.0], "ms"), spread([1.0, 2.0, 3.0], "ms")
    assert ratio(ours, theirs)[:4] == (2.0, "ratio", 2.0, 2.5)
    assert ratio(ours, Figure(8.0, "ms")) == Figure(0.5, "ratio")


def test_only_what_is_known_is_written():
    assert Figure(1.0, "ms", error=0.0, turns=(1.0,)).record() == {
        "median": 1.0,
        "unit": "ms",
        "error": 0.0,
    }
    with pytest.raises(ZeroDivisionError):
        ratio(Figure(1.0, "ms"), Figure(0.0, "ms"))
