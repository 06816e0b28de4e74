"""Crops against PIL, the float64 reference and goldens."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftrans_jax.model.aftrans import straight_through_scale
from aftrans_jax.model.crops import crop_and_resize, resample_relevance
from aftrans_jax.model.geometry import Geometry
from aftrans_jax.model.resize import RESAMPLES

crop = jax.jit(crop_and_resize, static_argnums=(2, 3))


@st.composite
def boxes(draw, size):
    top, bottom = sorted(draw(st.lists(st.integers(0, size), min_size=2, max_size=2, unique=True)))
    left, right = sorted(draw(st.lists(st.integers(0, size), min_size=2, max_size=2, unique=True)))
    return top, left, bottom, right


@settings(deadline=None, max_examples=30)
@given(st.tuples(boxes(20), boxes(20)), st.integers(0, 2**31), st.sampled_from(sorted(RESAMPLES)))
def test_crops_agree_with_pil_and_float64(pair, seed, resample):
    images = np.random.default_rng(seed).normal(size=(2, 20, 20, 3)).astype(np.float32)
    found = crop(jnp.array(images), jnp.array(pair, jnp.int32), 7, resample)
    for image, box, part in zip(images, pair, found, strict=True):
        np.testing.assert_allclose(part, oracles.crop(image, box, 7, resample), atol=2e-5)


def test_fine_stripes_become_grey_where_a_crop_shrinks():
    stripes = np.tile(np.float32([0, 1]), (1, 64, 32))[..., None]
    box = np.array([[0, 0, 64, 64]], np.int32)
    inner = np.array(crop(stripes, box, 16))[0, 2:-2, 2:-2]
    np.testing.assert_allclose(inner, 0.5, atol=1e-6)
    assert np.ptp(np.array(crop(stripes[:, :, :63], box - [0, 0, 0, 1], 16, "bilinear"))) > 0.4


def test_a_crop_of_its_own_size_is_the_image_bit_for_bit(rng):
    images = rng.normal(size=(2, 16, 16, 3)).astype(np.float32)
    box = jnp.array([[0, 0, 16, 16], [4, 3, 12, 11]], jnp.int32)
    np.testing.assert_array_equal(crop(images, box, 16)[0], images[0])
    np.testing.assert_array_equal(crop(images, box, 8)[1], images[1, 4:12, 3:11])


def test_pixels_outside_the_box_are_never_read(rng):
    images = np.full((1, 16, 16, 1), 1e6, np.float32)
    images[0, 4:9, 5:12] = rng.normal(size=(5, 7, 1))
    part = crop(jnp.array(images), jnp.array([[4, 5, 9, 12]], jnp.int32), 32)
    assert np.abs(part).max() < 10


@settings(deadline=None, max_examples=30)
@given(boxes(40), st.integers(0, 2**31))
def test_resampled_relevance_agrees_with_float64_and_has_mean_one(box, seed):
    grid = np.random.default_rng(seed).uniform(0.01, 1, (1, 9, 9)).astype(np.float32)
    local = Geometry(image_size=24, patch_size=8, stride=4)
    resample = jax.jit(resample_relevance, static_argnums=2)
    found = resample(jnp.array(grid), jnp.array([box], jnp.int32), local)
    expected = oracles.resample_relevance(grid[0], box, 24, 8, 4)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.mean(), 1, atol=1e-5)
    faint = resample(jnp.array(grid) / 2**20, jnp.array([box], jnp.int32), local)
    np.testing.assert_allclose(faint, found, rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, 1e-38, 1e-25])
def test_a_box_without_relevance_neither_changes_patches_nor_breaks_gradients(rng, value):
    grid = np.full((1, 9, 9), value, np.float32)
    grid[0, 0, 0] = 1.0  # elsewhere than in the box
    patches = jnp.array(rng.normal(size=(1, 25, 3)), jnp.float32)
    box = jnp.array([[20, 20, 40, 40]], jnp.int32)

    def guided(relevance):
        weight = resample_relevance(relevance, box, Geometry(24, 8, 4))
        return straight_through_scale(patches, weight)

    found, pull = jax.vjp(guided, jnp.array(grid))
    np.testing.assert_array_equal(found, patches)
    (gradient,) = pull(jnp.ones_like(patches))
    assert np.isfinite(gradient).all()
