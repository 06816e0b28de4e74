"""One program for all seeds, in which each of them draws what it always did."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from experiments import tiny_experiment

from aftrans_jax.training.compilation import compiled_step
from aftrans_jax.training.precision import NoLossScale
from aftrans_jax.training.sharding import STRATEGIES, all_sum, device_mesh, placed
from aftrans_jax.training.state import create_state

DRAWING = {
    "model__name": "vit",  # compiles soonest, and no other draws more
    **{"model__dropout": 0.1, "model__stochastic_depth": 0.2},
    **{"data__mixing": "both", "data__erasing": 0.5},
}


def draws(state, batch, rng):
    """Returns the sum of what devices draw, in place of gradients."""
    return all_sum({"x": jax.random.uniform(rng, (9,))}), {}


@pytest.mark.parametrize("seed", [0, 7, 2**31, 2**32 - 1])
def test_a_seed_draws_what_its_key_does(seed):
    mesh, rule = device_mesh(jax.devices()[:2]), optax.sgd(1.0)
    host = jax.device_get(create_state({"x": jnp.zeros(9)}, rule, NoLossScale()))
    strategy = STRATEGIES["replicated"](host, mesh)
    step = compiled_step(draws, rule, seed=seed, strategy=strategy, mesh=mesh)
    state, _ = step(placed(host, mesh, strategy.specs), {"mask": np.ones(2, bool)})
    keys = [jax.random.fold_in(jax.random.key(seed), device) for device in range(2)]
    expected = sum(jax.random.uniform(key, (9,)) for key in keys)
    np.testing.assert_array_equal(-state.params["x"], expected)


@pytest.mark.parametrize("sharding", STRATEGIES)
def test_two_seeds_are_one_program(sharding):
    """Else a study would compile each row anew for each of its seeds."""
    programs = set()
    for seed in (0, 1):
        experiment = tiny_experiment(2, seed=seed, train__sharding=sharding, **DRAWING)
        batch = next(experiment.train_batches(0))
        programs.add(experiment.train_step.lower(experiment.state, batch).as_text())
    assert len(programs) == 1
