"""Soft targets by hand and by torch's documented formula; parts of a preparation in turn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from aftrans_jax.training.losses import label_losses, target_losses
from aftrans_jax.training.preparation import chain, smooth_targets, with_targets

KEY = jax.random.key(0)
CLASSES = 4
LABELS = np.array([2, 0, 3], np.int32)
BATCH = {"label": jnp.asarray(LABELS)}
LOSSES = jax.jit(target_losses)


def soft(smoothing, weights=(1, 1, 1, 1)):
    batch = with_targets(BATCH, KEY, class_weights=np.array(weights, np.float32))
    return smooth_targets(batch, KEY, smoothing=smoothing)


def test_targets_by_hand():
    golden = [[0.025, 0.025, 0.925, 0.025], [0.925, 0.025, 0.025, 0.025]]
    np.testing.assert_allclose(soft(0.1)["target"][:2], golden, rtol=1e-6)
    np.testing.assert_array_equal(soft(0.0)["target"], np.eye(CLASSES)[LABELS])
    weighted = soft(0.2, (3, 1, 0.5, 1))["target"]
    golden = [[0.025, 0.025, 0.425, 0.025], [2.55, 0.15, 0.15, 0.15], [0.05, 0.05, 0.05, 0.85]]
    np.testing.assert_allclose(weighted, golden, rtol=1e-6)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1), st.floats(0, 0.9))
def test_smoothed_losses_are_torchs(seed, smoothing):
    """(1 - e) x the label's cross-entropy + e x the mean over classes, times the example's weight.

    That is the documented formula of `CrossEntropyLoss`, whose examples weigh 1.
    """
    rng = np.random.default_rng(seed)
    logits = {name: rng.normal(0, 3, (3, CLASSES)) for name in ("global", "local")}
    weights = rng.uniform(0.1, 4, CLASSES)
    found = LOSSES(
        jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), logits), soft(smoothing, weights)
    )
    assert list(found) == list(logits)
    for name, branch in logits.items():
        nats = -scipy.special.log_softmax(branch, axis=1)
        expected = (1 - smoothing) * nats[np.arange(3), LABELS] + smoothing * nats.mean(axis=1)
        # Logits of 8 and more are 1e-6 apart in float32, which is all of a loss that is nearly 0.
        np.testing.assert_allclose(found[name], weights[LABELS] * expected, rtol=1e-4, atol=4e-6)


def test_hard_targets_are_labels(rng):
    logits = {"global": jnp.asarray(rng.normal(size=(3, CLASSES)), jnp.float32)}
    hard, plain = LOSSES(logits, soft(0.0)), label_losses(logits, BATCH)
    np.testing.assert_allclose(hard["global"], plain["global"], rtol=1e-6)


def test_parts_come_in_turn_and_draw_by_themselves():
    def append(batch, rng):
        return {"seen": jnp.append(batch["seen"], jax.random.uniform(rng))}

    batch = {"seen": jnp.zeros(1)}
    _, *draws = chain([append] * 3)(batch, KEY)["seen"].tolist()
    assert len({*draws}) == 3
    assert chain([append])(batch, KEY)["seen"].tolist() == [0, draws[0]]
    assert chain([])(batch, KEY) is batch


def test_class_weights_are_those_of_the_labels():
    with pytest.raises(KeyError):
        smooth_targets(BATCH, KEY, smoothing=0.1)  # targets come first
    target = with_targets(BATCH, KEY, class_weights=np.arange(4, dtype=np.float32))
    np.testing.assert_array_equal(target["target"].sum(axis=1), [2, 0, 3])
