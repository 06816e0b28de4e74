"""Parameters that do not train, and the moving average of those that do."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from tiny import random_params
from training import linear

from aftrans_jax.model.plain_vit import PlainViT
from aftrans_jax.model.variants import Variant
from aftrans_jax.model.vit import ViT
from aftrans_jax.training.averaging import MovingAverage
from aftrans_jax.training.checkpoint_reading import flat_arrays
from aftrans_jax.training.compilation import compiled_step
from aftrans_jax.training.optimizer import optimizer
from aftrans_jax.training.parameter_groups import trainable
from aftrans_jax.training.precision import NoLossScale
from aftrans_jax.training.sharding import SINGLE_DEVICE, device_mesh, replicate, replicated
from aftrans_jax.training.state import EVAL_PARAMS, create_state
from aftrans_jax.training.train_step import mean_gradients, train_step

RULES = {"momentum": 0.9, "clip_norm": 1.0, "weight_decay": 0.1, "layer_decay": 0.5}
ADAMW = optimizer("adamw", lambda count: 0.01 + 0.0 * count, **RULES, num_layers=1)


def gradients_of(model, strategy=SINGLE_DEVICE):
    return partial(
        mean_gradients,
        model=model,
        loss_weights={"global": 0.7, "local": 1.9},
        head="global",
        accumulation_steps=1,
        strategy=strategy,
    )


def three_steps(params, batch, num_devices):
    mesh = device_mesh(jax.devices()[:num_devices])
    host = create_state(
        params,
        ADAMW,
        NoLossScale(),
        trains=lambda path: path == ("global",),
        average_decay=0.5,
    )
    strategy = replicated(host, mesh)
    gradients = gradients_of(linear.Linear(), strategy)
    step = compiled_step(gradients, ADAMW, seed=0, strategy=strategy, mesh=mesh)
    state, states = replicate(jax.device_get(host), mesh), []
    for _ in range(3):
        state, _ = step(state, batch)
        states.append(jax.device_get(state))
    return states


def test_what_is_frozen_stays_and_the_average_answers(rng):
    params, batch = linear.random_params(rng), linear.random_batch(rng)
    one, two = (three_steps(params, batch, num_devices) for num_devices in (1, 2))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), one, two)
    last, size = one[-1], params["global"].size
    assert last.params.keys() == {"global"}
    assert last.frozen.keys() == {"local"}
    np.testing.assert_array_equal(last.frozen["local"], params["local"])
    assert np.abs(last.params["global"] - params["global"]).max() > 0.01
    sizes = sorted(leaf.size for leaf in jax.tree.leaves(last.opt_state))
    assert sizes[-2:] == [size, size]  # the two moments of what trains, and counters
    assert set(sizes[:-2]) == {1}
    average = params["global"].astype(np.float64)
    for state, decay in zip(one, (2 / 11, 3 / 12, 4 / 13), strict=True):
        average = decay * average + (1 - decay) * state.params["global"]
    answering = last.eval_params()
    np.testing.assert_allclose(answering["global"], average, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(answering["local"], params["local"])
    stored = flat_arrays(last)
    found = {
        path.removeprefix(part): array
        for part in EVAL_PARAMS
        for path, array in stored.items()
        if path.startswith(part)
    }
    jax.tree.map(np.testing.assert_array_equal, found, answering)


def test_the_average_is_of_the_last_tenth_at_first_and_of_its_decay_later():
    average = MovingAverage({"x": jnp.zeros(2)}, 0.75)
    expected = {1: 9.0, 2: 18.0}  # 9/11 of 11; then a quarter of 9 and three quarters of 21
    for step, value in ((1, 11.0), (2, 21.0)):
        average = average.after({"x": jnp.full(2, value)}, jnp.array(step))
        np.testing.assert_allclose(average.of(None)["x"], expected[step], rtol=1e-6)
    late = MovingAverage({"x": jnp.zeros(2)}, 0.75).after({"x": jnp.ones(2)}, jnp.array(26))
    np.testing.assert_allclose(late.of(None)["x"], 0.25, rtol=1e-6)  # 27/36 is 0.75


def test_what_is_frozen_costs_no_memory(rng):
    """XLA's plan of memory: bytes of the state, and of activations and gradients."""
    half = (0.5, 0.5, 0.5)
    vit = ViT(Variant(4, 32, 128, 2, 2), 5, 16, stride=4, gelu="tanh", mean=half, std=half)
    model, images = PlainViT(vit), np.zeros((8, 16, 16, 3), np.uint8)
    step = partial(train_step, gradients=gradients_of(model), optimizer=ADAMW)
    step = jax.jit(partial(step, rng=jax.random.key(0)))
    params = random_params(model, rng, images)
    batch = {"image": images, "label": np.zeros(8, np.int32), "mask": np.ones(8, bool)}
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    state_bytes, work_bytes = {}, {}
    for choice in ("all", "head"):
        state = create_state(params, ADAMW, NoLossScale(), trains=trainable(choice, 2))
        plan = step.lower(state, batch).compile().memory_analysis()
        state_bytes[choice] = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        work_bytes[choice] = plan.temp_size_in_bytes
    head = sum(leaf.size for leaf in jax.tree.leaves(params["vit"]["head"]))
    assert state_bytes["all"] - state_bytes["head"] == 2 * 4 * (count - head)
    assert work_bytes["head"] < 0.5 * work_bytes["all"]
