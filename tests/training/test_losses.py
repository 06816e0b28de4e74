"""The terms of the loss against numpy in float64: values, gradients, rows that hold no example."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from aftrans_jax.model.outputs import ModelOutput
from aftrans_jax.training.losses import contrastive, distillation, loss_terms, total_loss

SIZE, CLASSES, HIDDEN = 6, 5, 7
MASK = np.array([True, True, False, True, True, False])


def random_logits(seed, scale=3.0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, scale, (SIZE, CLASSES)) for name in ("global", "local")}


def float32(tree):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 10))
def test_distillation_is_the_divergence_from_the_local_to_the_global(seed, scale):
    logits = random_logits(seed, scale)
    student, teacher = (scipy.special.softmax(logits[name], axis=1) for name in logits)
    values = scipy.special.rel_entr(teacher, student).sum(axis=1)
    np.testing.assert_allclose(distillation(float32(logits)), values, rtol=1e-4, atol=1e-5)

    gradients = jax.grad(lambda logits: distillation(logits).sum())(float32(logits))
    np.testing.assert_allclose(gradients["global"], student - teacher, atol=1e-5)
    assert not np.any(gradients["local"])


def test_branches_that_agree_have_nothing_to_teach():
    logits = random_logits(0)
    logits["global"] = logits["local"] + 100  # the same probabilities
    np.testing.assert_allclose(distillation(float32(logits)), 0, atol=1e-5)


def masked_mean(features, labels, mask, margin=0.4):
    values = contrastive(features, jnp.asarray(labels), jnp.asarray(mask), margin)
    return jnp.where(mask, values, 0).sum() / mask.sum()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.4, 0.7]))
def test_the_masked_mean_is_the_contrastive_loss_of_the_examples_alone(seed, margin):
    rng = np.random.default_rng(seed)
    features, labels = rng.normal(0.3, 1, (SIZE, HIDDEN)), rng.integers(0, 3, SIZE)
    expected = oracles.contrastive_loss(features[MASK], labels[MASK], margin)
    features[~MASK] = np.nan  # padding may be anything
    found = masked_mean(float32(features), labels, MASK, margin)
    assert float(found) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_the_gradient_of_the_contrastive_loss_by_differences(rng):
    features, labels = rng.normal(0.3, 1, (SIZE, HIDDEN)), rng.integers(0, 3, SIZE)
    gradient = jax.grad(masked_mean)(float32(features), labels, MASK)
    assert not np.any(gradient[~MASK])
    rows, step = np.flatnonzero(MASK), 1e-6
    for place, row in enumerate(rows):
        for column in range(HIDDEN):
            sides = []
            for sign in (1, -1):
                moved = features[MASK].copy()
                moved[place, column] += sign * step
                sides.append(oracles.contrastive_loss(moved, labels[MASK], 0.4))
            slope = (sides[0] - sides[1]) / (2 * step)
            assert float(gradient[row, column]) == pytest.approx(slope, abs=2e-5)


def test_features_of_zeros_and_batches_without_examples_have_finite_losses():
    features, labels = jnp.zeros((SIZE, HIDDEN)), np.zeros(SIZE, int)
    value, gradient = jax.value_and_grad(masked_mean)(features, labels, MASK)
    assert float(value) == 1
    assert np.isfinite(gradient).all()
    nothing = np.zeros(SIZE, bool)
    assert not np.any(contrastive(features, jnp.asarray(labels), jnp.asarray(nothing)))


def test_only_terms_that_are_weighed_are_computed(rng):
    logits, labels = float32(random_logits(0)), jnp.asarray(rng.integers(0, CLASSES, SIZE))
    features = {"global": float32(rng.normal(size=(SIZE, HIDDEN)))}
    weights = {"global": 0.5, "local": 2.0, "distill": 0.0, "contrastive": 0.0}
    batch = {"label": labels, "mask": jnp.asarray(MASK)}

    def terms(logits, **changes):
        return loss_terms(ModelOutput(logits, features, None), batch, weights | changes)

    plain = terms(logits)
    assert list(plain) == ["global", "local"]
    assert list(terms({"global": logits["global"]})) == ["global"]
    every = terms(logits, distill=0.25, contrastive=3.0)
    assert list(every) == ["global", "local", "distill", "contrastive"]
    expected = 0.5 * every["global"] + 2 * every["local"]
    np.testing.assert_allclose(total_loss(plain, weights), expected, rtol=1e-6)
    expected += 0.25 * every["distill"] + 3 * every["contrastive"]
    whole = total_loss(every, weights | {"distill": 0.25, "contrastive": 3.0})
    np.testing.assert_allclose(whole, expected, rtol=1e-6)
