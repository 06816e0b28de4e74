"""RAMS-Trans against a float64 reference of its paper, and properties of its rollout."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import tiny

from aftrans_jax.model.rams import RAMS, mean_row_of_rollout
from aftrans_jax.model.rollout import Projections

MIN_BOX = 1


def tiny_rams(**changes) -> RAMS:
    return RAMS(tiny.tiny_vit(), tiny.LOCAL_SIZE, MIN_BOX, **changes)


MODEL = tiny_rams()
BATCH = 6  # of most tests, so that they share what is compiled


@pytest.fixture
def params(rng):
    return tiny.random_params(MODEL, rng, tiny.random_images(rng))


@pytest.mark.parametrize(
    ("source_size", "threshold", "resample"),
    [(22, 1.2, "antialiased"), (22, 1.05, "antialiased"), (33, 1.05, "bilinear")],
)
def test_both_branches_agree_with_float64(params, rng, source_size, threshold, resample):
    images = rng.integers(0, 256, (BATCH, source_size, source_size, 3), dtype=np.uint8)
    model = tiny_rams(threshold=threshold, resample=resample)
    output = tiny.apply(model, params, images, train=False)
    local, boxes = params["local"], set()
    for row, image in enumerate(images):
        expected = oracles.rams(
            tiny.flat(params["vit"]), local["cls"], local["pos_embedding"], tiny.normalized(image),
            tiny.IMAGE_SIZE, tiny.LOCAL_SIZE, tiny.STRIDE, "exact", MIN_BOX, threshold, resample,
        )  # fmt: skip
        region = jax.tree.map(lambda x, row=row: np.asarray(x[row]), output.region)
        np.testing.assert_allclose(region.relevance.ravel(), expected.relevance, atol=1e-6)
        np.testing.assert_array_equal(region.mask, expected.mask)
        assert tuple(region.box.tolist()) == expected.box
        boxes.add(expected.box)
        np.testing.assert_allclose(output.logits["global"][row], expected.global_logits, atol=1e-4)
        np.testing.assert_allclose(output.logits["local"][row], expected.local_logits, atol=1e-4)
    assert len(boxes) > 1


def random_layers(rng, num_layers=4, batch=2, tokens=9, heads=3, width=5) -> list[Projections]:
    shape = (batch, tokens, heads, width)
    draw = (rng.normal(size=(2, *shape)).astype(np.float32) for _ in range(num_layers))
    return [Projections(*map(jnp.asarray, layer)) for layer in draw]


def test_the_row_is_the_mean_of_the_whole_rollout(rng):
    layers = random_layers(rng)
    maps = [
        oracles.softmax(np.einsum("bqhd,bkhd->bhqk", *layer, dtype=np.float64) / np.sqrt(5), -1)
        for layer in layers
    ]
    row = mean_row_of_rollout(layers)
    for image, attention in enumerate(np.stack(maps, axis=1)):
        expected = oracles.rollout(attention).mean(axis=0)
        np.testing.assert_allclose(row[image], expected, rtol=1e-5)
    np.testing.assert_allclose(row.sum(axis=-1), 1, rtol=1e-5)


def test_a_token_that_all_look_at_gathers_what_the_residual_leaves():
    """Every query attends to token 2 in both layers: half of the rest goes there in each."""
    key = 100.0 * jax.nn.one_hot(jnp.arange(5), 5)[None, :, None]
    layer = Projections(jax.nn.one_hot(jnp.full(5, 2), 5)[None, :, None] * 5.0, key)
    row = mean_row_of_rollout([layer, layer])
    np.testing.assert_allclose(row[0], [0.05, 0.05, 0.8, 0.05, 0.05], atol=1e-6)


def test_moving_the_tokens_moves_the_row(rng):
    layers, order = random_layers(rng), rng.permutation(9)
    moved = [Projections(layer.query[:, order], layer.key[:, order]) for layer in layers]
    row = mean_row_of_rollout(layers)
    np.testing.assert_allclose(mean_row_of_rollout(moved), row[:, order], rtol=1e-5)


def test_the_mask_is_what_exceeds_the_threshold(params, rng):
    assert MODEL.threshold == 1.2  # RAMS-Trans's
    images = tiny.random_images(rng, BATCH)
    areas = []
    for threshold in (1.05, 1.2, 100.0):  # two of other tests' programs, and none that is exceeded
        region = tiny.apply(tiny_rams(threshold=threshold), params, images, train=False).region
        mean = region.relevance.mean(axis=(1, 2), keepdims=True)
        np.testing.assert_array_equal(region.mask, region.relevance > threshold * mean)
        areas.append(float(region.mask.mean()))
    assert 1 > areas[0] > areas[1] > areas[2] == 0
    assert (region.box == jnp.array([0, 0, tiny.IMAGE_SIZE, tiny.IMAGE_SIZE])).all()  # the fallback


def test_global_logits_alone_are_those_of_both_branches(params, rng):
    images = tiny.random_images(rng, BATCH)
    logits = tiny.apply(MODEL, params, images, method="global_logits")
    both = tiny.apply(MODEL, params, images, train=False)
    np.testing.assert_allclose(logits, both.logits["global"], atol=2e-5)
    text = jax.jit(partial(MODEL.apply, method="global_logits")).lower({"params": params}, images)
    assert "while" not in text.as_text()  # no labelling


@pytest.mark.parametrize("branch", ["global", "local"])
def test_each_branch_learns_and_keeps_no_map_for_the_backward_pass(params, rng, branch):
    images = tiny.random_images(rng)

    def loss(params):
        return (tiny.apply(MODEL, params, images, train=True).logits[branch] ** 2).sum()

    value, pullback = jax.vjp(loss, params)
    shapes = [leaf.shape for leaf in jax.tree.leaves(pullback) if hasattr(leaf, "shape")]
    assert shapes
    assert not [shape for shape in shapes if shape[-2:] in ((51, 51), (18, 18))]
    grads = tiny.flat(pullback(jnp.ones_like(value))[0])
    for name, grad in grads.items():
        assert np.isfinite(grad).all()
        # A key's bias adds the same to all of a query's scores, which softmax ignores.
        learns = not name.endswith("key/bias")
        assert not learns or np.abs(grad).max() > 1e-6, name
