"""Optimizers against their formulas in float64, and which parameters they treat how, by hand."""

import jax
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from aftrans_jax.training.optimizer import OPTIMIZERS, optimizer
from aftrans_jax.training.parameter_groups import decayed, merge, partition, rate_scales, trainable

# Of a trunk of two blocks: is it decayed, and its learning rate at a layer decay of 0.5.
PARAMETERS = {
    "vit/embedding/kernel": (True, 0.125),
    "vit/embedding/bias": (False, 0.125),
    "vit/cls": (False, 0.125),
    "vit/Transformer/posembed_input/pos_embedding": (False, 0.125),
    "vit/Transformer/encoderblock_0/LayerNorm_0/scale": (False, 0.25),
    "vit/Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel": (True, 0.25),
    "vit/Transformer/encoderblock_1/LayerNorm_2/bias": (False, 0.5),
    "vit/Transformer/encoderblock_1/MultiHeadDotProductAttention_1/query/bias": (False, 0.5),
    "vit/Transformer/encoderblock_1/MultiHeadDotProductAttention_1/query/kernel": (True, 0.5),
    "vit/Transformer/encoder_norm/scale": (False, 1.0),
    "vit/head/kernel": (True, 1.0),
    "vit/head/bias": (False, 1.0),
    "local/cls": (False, 1.0),
    "local/pos_embedding": (False, 1.0),
    "sacm/squeeze/kernel": (True, 1.0),
}
ALWAYS = {name for name in PARAMETERS if not name.startswith("vit/")}
ALWAYS |= {"vit/head/kernel", "vit/head/bias"}
# Of steps that add up to 0.35: Adam's 1 - 0.999 is known to 6e-5 of itself in float32.
ROUNDING = 0.35 * 6e-5
NORMS = {name for name in PARAMETERS if "LayerNorm" in name or "encoder_norm" in name}
SECOND = {name for name in PARAMETERS if "encoderblock_1" in name or "encoder_norm" in name}
FIRST = {name for name in PARAMETERS if "encoderblock_0" in name}


def nested(values):
    return unflatten_dict(values, sep="/")


def flat(tree):
    return flatten_dict(tree, sep="/")


@pytest.fixture
def params(rng):
    return {name: rng.normal(size=(3, 2)).astype(np.float32) for name in PARAMETERS}


def test_kernels_alone_are_decayed_and_layers_learn_at_their_rates(params):
    assert flat(decayed(nested(params))) == {
        name: is_decayed for name, (is_decayed, _) in PARAMETERS.items()
    }
    scales = rate_scales(nested(params), decay=0.5, num_layers=2)
    assert flat(scales) == {name: scale for name, (_, scale) in PARAMETERS.items()}
    deeper = flat(rate_scales(nested(params), decay=0.5, num_layers=12))
    assert deeper["vit/embedding/kernel"] == 2.0**-13
    assert deeper["vit/head/bias"] == 1


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("all", set(PARAMETERS)),
        ("head", ALWAYS),
        ("last:1", ALWAYS | SECOND),
        ("last:2", ALWAYS | SECOND | FIRST),
        ("norms", ALWAYS | NORMS),
    ],
)
def test_what_trains(params, choice, expected):
    trained, frozen = partition(nested(params), trainable(choice, 2))
    assert flat(trained).keys() == expected
    assert flat(frozen).keys() == PARAMETERS.keys() - expected
    assert flat(merge(frozen, trained)).keys() == PARAMETERS.keys()


@pytest.mark.parametrize("choice", ["last:0", "last:3", "last:", "last", "last:x", "last:-1"])
def test_the_number_of_blocks_is_checked(choice):
    with pytest.raises(ValueError, match=f"{choice}' must be last:K with K from 1 to 2, .*last:2$"):
        trainable(choice, 2)


@pytest.mark.parametrize("choice", ["", "heads", "blocks:1", "All"])
def test_an_unknown_part_lists_the_known(choice):
    message = f"^train.trainable='{choice}' is unknown: choose one of all, head, last:K, norms$"
    with pytest.raises(ValueError, match=message):
        trainable(choice, 2)


def adam_direction(moments, grad, number, eps):
    """Adam's step for a rate of 1, from the moments, which are brought forward."""
    moments[0] = 0.8 * moments[0] + 0.2 * grad
    moments[1] = 0.999 * moments[1] + 0.001 * grad**2
    mean, square = moments[0] / (1 - 0.8**number), moments[1] / (1 - 0.999**number)
    return mean / (np.sqrt(square) + eps)


def direction(name, moments, grad, param, decay, number):
    """The decrease of a parameter, at a rate of 1."""
    if name == "sgd":
        moments[0] = 0.8 * moments[0] + grad + decay * param
        return moments[0]
    if name == "adamw":
        return adam_direction(moments, grad, number, 1e-8) + decay * param
    step = adam_direction(moments, grad, number, 1e-6) + decay * param
    return step * np.linalg.norm(param) / np.linalg.norm(step)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_those_of_the_formulas(rng, params, name):
    rates = (0.2, 0.1, 0.05)
    optimize = optimizer(
        name,
        lambda count: jax.numpy.array(rates)[count],
        momentum=0.8,
        clip_norm=3.0,
        weight_decay=0.3,
        layer_decay=0.5,
        num_layers=2,
    )
    found, expected = nested(params), {name: x.astype(np.float64) for name, x in params.items()}
    state, moments = optimize.init(found), {key: [0.0, 0.0] for key in params}
    update = jax.jit(optimize.update)
    for number, rate in enumerate(rates, start=1):
        grads = {key: rng.normal(size=(3, 2)).astype(np.float32) for key in params}
        updates, state = update(nested(grads), state, found)
        found = optax.apply_updates(found, updates)
        norm = np.sqrt(sum((x.astype(np.float64) ** 2).sum() for x in grads.values()))
        assert norm > 3  # or nothing would be clipped
        for key, (is_decayed, scale) in PARAMETERS.items():
            grad, decay = grads[key].astype(np.float64) * 3 / norm, 0.3 * is_decayed
            step = direction(name, moments[key], grad, expected[key], decay, number)
            expected[key] = expected[key] - rate * scale * step
    for key, array in flat(found).items():
        np.testing.assert_allclose(array, expected[key], rtol=1e-6, atol=ROUNDING, err_msg=key)


def test_adamw_is_that_of_torch():
    """torch 2.13 in float64: AdamW(lr=0.1, betas=(0.9, 0.999), weight_decay=0.2), three steps."""
    optimize = optimizer(
        "adamw",
        lambda count: 0.1,
        momentum=0.9,
        clip_norm=1e9,
        weight_decay=0.2,
        layer_decay=1.0,
        num_layers=2,
    )
    params = nested({"vit/head/kernel": np.array([1.0, -2.0, 0.5], np.float32)})
    state = optimize.init(params)
    for grad in ([0.3, -0.1, 0.02], [-0.5, 0.2, 0.01], [0.1, 0.4, -0.03]):
        grads = nested({"vit/head/kernel": np.array(grad, np.float32)})
        updates, state = optimize.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    expected = [0.885481877683764, -1.8917929654988166, 0.2914001771931589]
    np.testing.assert_allclose(params["vit"]["head"]["kernel"], expected, atol=ROUNDING)
