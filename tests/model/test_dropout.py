"""Dropout and stochastic depth: where they act, on what as a whole, and how often."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax.traverse_util import unflatten_dict

from aftrans_jax.model.attention import xla_attention
from aftrans_jax.model.encoder import Encoder, EncoderBlock
from aftrans_jax.model.variants import Variant

HIDDEN = 12
VARIANT = Variant(patch_size=4, hidden=HIDDEN, mlp=HIDDEN, layers=1, heads=3)
TOKENS = jnp.zeros((400, 5, HIDDEN))
FLOAT32 = jnp.dtype("float32")
KEYS = {"params": jax.random.key(1), "dropout": jax.random.key(2)}
ATTENTION, MLP = "MultiHeadDotProductAttention_1/out/bias", "MlpBlock_3/Dense_1/bias"


def relu(x):
    return jnp.maximum(x, 0)


def added(*, dropout=0.0, stochastic_depth=0.0, **values):
    """The output of a block for tokens of zeros; its parameters are zeros except these values."""
    block = EncoderBlock(VARIANT, relu, xla_attention, dropout, stochastic_depth, FLOAT32)
    given = TOKENS, True, None, False
    shapes = tiny.flat(jax.eval_shape(lambda: block.init(KEYS, *given))["params"])
    params = {name: jnp.zeros(x.shape) + values.get(name, 0.0) for name, x in shapes.items()}
    add = jax.jit(lambda params: block.apply({"params": params}, *given, rngs=KEYS)[0])
    return np.asarray(add(unflatten_dict(params, sep="/")))


@pytest.mark.parametrize("branch", [ATTENTION, MLP])
def test_half_of_the_values_of_a_branch_are_dropped_and_the_others_doubled(branch):
    found = added(dropout=0.5, **{branch: 1.0})
    assert set(np.unique(found)) == {0, 2}
    assert found.mean() == pytest.approx(1, abs=0.03)  # 5 deviations
    for axis in range(3):  # each by itself
        assert (found != np.roll(found, 1, axis)).mean() == pytest.approx(0.5, abs=0.02)


def test_hidden_values_of_the_perceptron_are_dropped_as_well():
    kernel = {"MlpBlock_3/Dense_0/bias": 1.0, "MlpBlock_3/Dense_1/kernel": jnp.eye(HIDDEN)}
    found = added(dropout=0.5, **kernel)
    assert set(np.unique(found)) == {0, 4}  # kept twice
    assert found.mean() == pytest.approx(1, abs=0.06)


def test_the_embedding_is_dropped_before_the_first_block():
    encoder = Encoder(VARIANT, 5, relu, xla_attention, 0.5, 0.0, "none", FLOAT32)
    ones, given = jnp.ones((4, 5, HIDDEN)), {"train": True, "all_tokens": True}
    shapes = jax.eval_shape(lambda: encoder.init(KEYS, ones, **given))
    params = jax.tree.map(lambda shape: jnp.zeros(shape.shape), shapes["params"])
    params["encoder_norm"]["scale"] = jnp.ones(HIDDEN)
    tokens, _ = encoder.apply({"params": params}, ones, rngs=KEYS, **given)
    norms = np.linalg.norm(tokens, axis=-1)  # of equal values it would be 0
    np.testing.assert_allclose(norms, HIDDEN**0.5, rtol=1e-4)


def test_a_branch_of_an_image_is_dropped_as_a_whole_and_by_itself():
    found = added(stochastic_depth=0.5, **{ATTENTION: 1.0, MLP: 10.0})
    np.testing.assert_array_equal(found, np.broadcast_to(found[:, :1, :1], found.shape))
    values, counts = np.unique(found[:, 0, 0], return_counts=True)
    assert values.tolist() == [0, 2, 20, 22]
    assert np.abs(counts / len(found) - 0.25).max() < 0.09  # 4 deviations


def test_dropout_and_stochastic_depth_act_in_training_only(rng):
    vit, images = tiny.tiny_vit(dropout=0.3, stochastic_depth=0.5), tiny.random_images(rng)
    params = tiny.random_params(vit, rng, images)
    plain = tiny.apply(tiny.tiny_vit(), params, images, train=False)
    np.testing.assert_array_equal(tiny.apply(vit, params, images, train=False), plain)
    first, again, other = (
        tiny.apply(vit, params, images, train=True, rngs={"dropout": jax.random.key(seed)})
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_stochastic_depth_grows_from_none_in_the_first_layer_to_its_rate_in_the_last(rng):
    """At rate 1 of three layers: which images does another block change?"""
    vit, images = tiny.tiny_vit(stochastic_depth=1.0), tiny.random_images(rng, batch=128)
    params = tiny.random_params(vit, rng, images)

    def logits(blocks):
        given = {**params, "Transformer": params["Transformer"] | blocks}
        return tiny.apply(vit, given, images, train=True, rngs={"dropout": jax.random.key(0)})

    before, shares = logits({}), []
    for name in (f"encoderblock_{number}" for number in range(3)):
        other = jax.tree.map(lambda x: x + 0.1, params["Transformer"][name])
        shares.append((logits({name: other}) != before).any(axis=1).mean())
    # Of the second layer's two branches either drops out in half of the images.
    assert shares == [1, pytest.approx(0.75, abs=0.15), 0]
