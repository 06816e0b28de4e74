"""Boxes and crops against scipy, the float64 reference and goldens."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aftrans_jax.model.regions import (
    REGION_METHODS,
    Geometry,
    crop_and_resize,
    locate_region,
    resample_relevance,
)

GEOMETRY = Geometry(image_size=448, patch_size=16, stride=12)  # 37 x 37 patches
SMALL = Geometry(image_size=40, patch_size=8, stride=4)  # 9 x 9


@partial(jax.jit, static_argnums=(1, 2, 3))
def locate(mask, geometry, min_box, method):
    return locate_region(mask, method=method, geometry=geometry, min_box=min_box)


crop = jax.jit(crop_and_resize, static_argnums=2)


@pytest.mark.parametrize(
    ("cells", "box"),
    [
        ([(0, 0)], (0, 0, 16, 16)),
        ([(36, 36)], (432, 432, 448, 448)),
        ([(2, 3), (4, 5), (3, 4)], (24, 36, 64, 76)),
        ([(0, 0), (10, 10), (10, 11)], (120, 120, 136, 148)),  # the larger of two
        ([], (0, 0, 448, 448)),
    ],
)
def test_boxes_worked_out_by_hand(cells, box):
    mask = np.zeros((1, 37, 37), bool)
    for cell in cells:
        mask[0][cell] = True
    assert tuple(locate(mask, GEOMETRY, 16, "largest_component")[0].tolist()) == box


def test_a_box_below_min_box_on_either_side_becomes_the_image():
    mask = np.zeros((1, 37, 37), bool)
    mask[0, 5, 5:20] = True  # 16 px high
    for min_box, expected in ((16, (60, 60, 76, 244)), (17, (0, 0, 448, 448))):
        box = locate(mask, GEOMETRY, min_box, "extreme_values")
        assert tuple(box[0].tolist()) == expected


@settings(deadline=None, max_examples=30)
@given(hnp.arrays(bool, (3, 9, 9)), st.sampled_from(sorted(REGION_METHODS)))
def test_boxes_agree_with_scipy(masks, method):
    for mask, box in zip(masks, locate(masks, SMALL, 12, method), strict=True):
        expected = oracles.box_from_mask(mask, 8, 4, 40, 12, method)
        assert tuple(box.tolist()) == expected


@st.composite
def boxes(draw, size):
    top, bottom = sorted(draw(st.lists(st.integers(0, size), min_size=2, max_size=2, unique=True)))
    left, right = sorted(draw(st.lists(st.integers(0, size), min_size=2, max_size=2, unique=True)))
    return top, left, bottom, right


@settings(deadline=None, max_examples=30)
@given(st.tuples(boxes(20), boxes(20)), st.integers(0, 2**31))
def test_crops_agree_with_float64(pair, seed):
    images = np.random.default_rng(seed).normal(size=(2, 20, 20, 3)).astype(np.float32)
    found = crop(jnp.array(images), jnp.array(pair, jnp.int32), 7)
    for image, box, part in zip(images, pair, found, strict=True):
        np.testing.assert_allclose(part, oracles.crop(image, box, 7), atol=2e-5)


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
