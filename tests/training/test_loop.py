"""How far the host runs ahead of the device: a signal's save waits for every enqueued step."""

import itertools

import jax.numpy as jnp
import pytest
from clu.metrics import Average

from aftrans_jax.training.loop import train
from aftrans_jax.training.precision import NoLossScale
from aftrans_jax.training.state import TrainState


class Total:
    """A leaf of a step's averages: notes that it was waited for."""

    def __init__(self, number, waited):
        self._number, self._waited = number, waited

    def block_until_ready(self):
        self._waited.append(self._number)
        return self


def state_after(steps):
    return TrainState(jnp.asarray(steps), jnp.asarray(0), {}, {}, NoLossScale())


@pytest.mark.parametrize("asked_after", [1, 5, 12])
def test_no_more_than_two_steps_wait_while_one_runs(asked_after):
    waited, enqueued = [], []

    def step(state, batch):
        assert len(enqueued) - len(waited) <= 2
        enqueued.append(batch)
        return state_after(state.step + 1), {"loss": Average(Total(len(enqueued), waited), 1)}

    state = train(
        state_after(0),
        step_fn=step,
        batches=itertools.count(),
        num_steps=12,
        actions=[],
        should_stop=lambda number: number == asked_after,
    )
    assert state.step == asked_after
    assert enqueued == list(range(asked_after))
    assert waited == list(range(1, asked_after - 1))
