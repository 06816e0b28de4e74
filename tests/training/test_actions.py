"""What the stopwatch counts: steps and their seconds, by a clock that the test moves."""

import math

import pytest
from clu.metrics import Average

from aftrans_jax.training import actions
from aftrans_jax.training.actions import Stopwatch
from aftrans_jax.training.precision import NoLossScale
from aftrans_jax.training.state import TrainState


class Running:
    """A result that takes seconds to wait for."""

    def __init__(self, clock, seconds):
        self._clock, self._seconds = clock, seconds

    def block_until_ready(self):
        self._clock[0] += self._seconds
        return self


def test_neither_compilation_nor_pauses_count(monkeypatch):
    clock, watch = [7.0], Stopwatch()
    monkeypatch.setattr(actions.time, "monotonic", lambda: clock[0])

    def step(seconds):
        watch.step({"loss": Average(Running(clock, seconds), 1)})

    def pause(waited):
        state = TrainState(Running(clock, waited), 0, {}, {}, NoLossScale())
        with watch.paused(state):
            clock[0] += 1000  # an evaluation

    step(100)  # which is compiled, and waited for
    pause(0)
    assert math.isnan(watch.steps_per_second())
    for _ in range(4):
        clock[0] += 0.5
        step(100)  # in the background
    pause(2)  # until these are done
    assert watch.steps_per_second() == pytest.approx(1)
    clock[0] += 6
    step(100)
    pause(0)
    assert watch.steps_per_second() == pytest.approx(0.5)
