"""Changes to batches in training: class weights by hand, parts as configured, resuming."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import tiny_config, tiny_experiment
from hypothesis import given, settings
from hypothesis import strategies as st

from aftrans_jax.experiment.recipe import CLASS_WEIGHTS, build_recipe, class_weights
from aftrans_jax.training.losses import label_losses, target_losses
from aftrans_jax.training.metrics import compute, merge
from aftrans_jax.training.sharding import replicate

LABELS = [0, *[1] * 4, *[3] * 5]  # none of class 2


def batch_of(rows=4, side=8):
    rng = np.random.default_rng(0)
    return {
        "image": jnp.asarray(rng.integers(0, 256, (rows, side, side, 3), dtype=np.uint8)),
        "label": jnp.array([0, 1, 3, 1], jnp.int32),
        "mask": jnp.ones(rows, bool),
    }


def test_inverse_weights_by_hand():
    """Each of three classes counts for a third of ten examples."""
    found = class_weights("inverse", LABELS, 4)
    np.testing.assert_allclose(found, [10 / 3, 10 / 12, 0, 10 / 15], rtol=1e-6)
    np.testing.assert_array_equal(class_weights("none", LABELS, 4), [1, 1, 0, 1])


def test_effective_weights_by_hand():
    """An example of n counts for 1 / (1 + beta + ... + beta^(n - 1))."""
    numbers = [sum(0.999**power for power in range(count)) for count in (1, 4, 5)]
    raw = 1 / np.array(numbers)
    expected = raw * 10 / (raw @ [1, 4, 5])
    np.testing.assert_allclose(class_weights("effective", LABELS, 4)[[0, 1, 3]], expected, 1e-6)
    many = class_weights("effective", [0] * 10_000 + [1] * 20_000, 2)
    np.testing.assert_allclose(many, 1, atol=1e-4)  # of thousands, more add nothing


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(sorted(CLASS_WEIGHTS)), st.lists(st.integers(0, 9), min_size=1))
def test_the_mean_weight_over_examples_is_one(name, labels):
    weights = class_weights(name, labels, 10)
    assert weights[labels].mean() == pytest.approx(1, rel=1e-5)
    assert (weights >= 0).all()
    assert set(np.flatnonzero(weights)) == set(labels)


def test_an_evaluation_has_no_training_examples():
    np.testing.assert_array_equal(class_weights("inverse", [], 3), [0, 0, 0])


def test_nothing_is_prepared_where_nothing_is_asked_for():
    prepare, losses, heaviest = build_recipe(tiny_config(), pytest.fail, 4)  # reads no labels
    assert heaviest == 1
    batch = batch_of()
    assert prepare(batch, jax.random.key(0)) is batch
    assert losses is label_losses


@pytest.mark.parametrize(
    ("changes", "target", "same_images"),
    [
        ({"data__erasing": 0.99}, None, False),
        ({"loss__label_smoothing": 0.4}, [0.7, 0.1, 0.1, 0.1], True),
        ({"loss__class_weights": "inverse"}, [10 / 3, 0, 0, 0], True),
        ({"data__mixing": "mixup"}, "two", False),
        ({"data__mixing": "cutmix", "loss__label_smoothing": 0.4}, "all", False),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_parts_are_as_configured(changes, target, same_images):
    prepare, losses, _ = build_recipe(tiny_config(**changes), lambda: LABELS, 4)
    batch = batch_of()
    found = jax.device_get(jax.jit(prepare)(batch, jax.random.key(5)))
    assert np.array_equal(found["image"], batch["image"]) == same_images
    assert losses is (target_losses if target is not None else label_losses)
    if target is None:
        assert "target" not in found
        colours = found["image"][(found["image"] != batch["image"]).any(axis=-1)]
        assert (colours == 128).all()  # the mean, 0.5
    elif isinstance(target, list):
        np.testing.assert_allclose(found["target"][0], target, rtol=1e-5)
    else:
        np.testing.assert_allclose(found["target"].sum(axis=1), 1, rtol=1e-5)
        assert (found["target"] > 0).sum(axis=1).max() == {"two": 2, "all": 4}[target]


def test_the_heaviest_example_is_of_the_rarest_class():
    """A third of ten examples is one of class 0."""
    _, _, heaviest = build_recipe(tiny_config(loss__class_weights="inverse"), lambda: LABELS, 4)
    assert heaviest == pytest.approx(10 / 3)


def test_a_training_with_every_part_is_resumed_bit_for_bit():
    experiment = tiny_experiment(
        1,
        model__name="vit",
        data__augment="randaugment",
        data__erasing=0.5,
        data__mixing="both",
        data__sampling="balanced",
        loss__label_smoothing=0.1,
        train__steps=6,
    )

    def going_on(state, start, number):
        state, batches, losses = (
            replicate(state, experiment.mesh),
            experiment.train_batches(start),
            [],
        )
        for _ in range(number):
            state, metrics = experiment.train_step(state, next(batches))
            losses.append(compute(merge([metrics])))
        return jax.device_get(state), losses

    start = jax.device_get(experiment.state)
    half, _ = going_on(start, 0, 2)
    whole, losses = going_on(start, 0, 4)
    resumed, again = going_on(half, 2, 2)
    jax.tree.map(np.testing.assert_array_equal, whole, resumed)
    assert losses[2:] == again
    # What is reported of the branch is the cross-entropy to the label, not what is lowered.
    assert 0 < losses[-1]["loss"] != losses[-1]["global_loss"] > 0
