"""Gates that get no gradient keep their initial weights, whatever else moves parameters."""

import jax
import numpy as np
import pytest
from experiments import tiny_experiment

DECAYING = {
    "train__optimizer": "adamw",
    "train__learning_rate": 0.01,
    "train__weight_decay": 0.5,
    "train__warmup_steps": 0,
}


@pytest.mark.parametrize("gate", ["straight_through", "no_gradient"])
def test_gates_without_a_gradient_stay_as_they_are(gate):
    experiment = tiny_experiment(1, sacm__gate=gate, train__ema=0.5, **DECAYING)
    state, batches = experiment.state, experiment.train_batches(0)
    before = state.eval_params()
    for _ in range(3):
        state, _ = experiment.train_step(state, next(batches))
    after = jax.device_get(state.eval_params())
    moved = jax.tree.map(lambda x, y: np.abs(x - y).max() > 0, before, after)
    assert all(jax.tree.leaves(moved["vit"]))
    learns = gate == "straight_through"
    assert jax.tree.leaves(moved["sacm"]) == [learns, learns]
    assert ("sacm" in state.params) == learns  # else the optimizer holds moments of them
