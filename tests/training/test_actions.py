"""What the stopwatch counts: steps and their seconds, by a clock that the test moves."""

import math

import pytest
from clu.metrics import Average

from aftrans_jax.training import actions
from aftrans_jax.training.actions import Stopwatch
from aftrans_jax.training.precision import NoLossScale
from aftrans_jax.training.state import TrainState


class Running:
    """A result that is there at a time."""

    def __init__(self, clock, ready):
        self._clock, self._ready = clock, ready

    def block_until_ready(self):
        self._clock[0] = max(self._clock[0], self._ready)
        return self


def test_neither_compilation_nor_pauses_count(monkeypatch):
    clock, watch = [7.0], Stopwatch()
    monkeypatch.setattr(actions.time, "monotonic", lambda: clock[0])

    def step(ready=math.inf):  # who waited for one would wait for ever
        watch.step({"loss": Average(Running(clock, ready), 1)})

    def pause(ready):
        state = TrainState(Running(clock, ready), 0, {}, {}, NoLossScale())
        with watch.paused(state):
            clock[0] += 1000  # an evaluation

    step(ready=107)  # which is compiled, and waited for
    assert math.isnan(watch.steps_per_second())
    for _ in range(4):
        clock[0] += 0.5
        step()
    pause(ready=111)  # two seconds later
    assert watch.steps_per_second() == pytest.approx(1)
    clock[0] += 6
    step()
    pause(ready=0)
    assert watch.steps_per_second() == pytest.approx(0.5)
