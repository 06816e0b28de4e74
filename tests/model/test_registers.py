"""Registers: tokens behind the class token, the same in both branches, no place of the image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from aftrans_jax.model.aftrans import AFTrans
from aftrans_jax.model.class_row import log_class_row
from aftrans_jax.model.vit import ViT

VARIANT = tiny.VARIANT._replace(layers=2, registers=2)
IMAGES = tiny.random_images(np.random.default_rng(1))


@pytest.fixture(scope="module")
def model():
    vit = ViT(
        VARIANT, tiny.CLASSES, tiny.IMAGE_SIZE, tiny.STRIDE, "exact", mean=tiny.MEAN, std=tiny.STD
    )
    return AFTrans(vit, tiny.LOCAL_SIZE, keep_ratio=0.3, reduction=2, min_box=5)


@pytest.fixture(scope="module")
def computed(model):
    """The output with registers, with them in reverse, and with none of their numbers."""
    params = tiny.random_params(model, np.random.default_rng(2), IMAGES)
    boxes = jnp.array([[1, 2, 18, 19]] * 2, jnp.float32)  # else a crop depends on them as well
    run = jax.jit(lambda p: model.apply({"params": p}, IMAGES, train=False, boxes=boxes))
    registers = params["vit"]["registers"]
    return [
        run({**params, "vit": {**params["vit"], "registers": x}})
        for x in (registers, registers[:, ::-1], 0 * registers)
    ]


def test_a_region_is_of_patches_alone(computed):
    region = computed[0].region
    side = (tiny.IMAGE_SIZE - VARIANT.patch_size) // tiny.STRIDE + 1
    assert region.relevance.shape == (2, side, side)
    np.testing.assert_allclose(region.rows.layer_rows.sum(-1), 1, atol=1e-5)


def test_both_branches_read_them_whatever_their_order(computed):
    output, reversed_, zeros = computed
    for name, logits in output.logits.items():
        np.testing.assert_allclose(logits, reversed_.logits[name], atol=1e-5)
        assert np.abs(logits - zeros.logits[name]).max() > 1e-3, name
    np.testing.assert_allclose(output.region.relevance, reversed_.region.relevance, atol=1e-6)


def test_their_entries_of_the_class_row_are_left_out_of_one_softmax(rng):
    query, key = (jnp.asarray(rng.normal(size=(2, 9, 3, 4)), jnp.float32) for _ in range(2))
    scores = np.einsum("bhd,bkhd->bhk", query[:, 0], key) / 2
    rows = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    found = np.exp(log_class_row(query, key, first_patch=3))
    np.testing.assert_allclose(found, rows[..., 3:], rtol=1e-5)


def test_a_variant_without_them_has_no_such_parameter():
    assert tiny.param_shapes(tiny.tiny_vit()).keys() == {"cls", "embedding", "Transformer", "head"}
