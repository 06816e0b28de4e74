"""Random erasing: areas, aspects, places and probability of many boxes, and the pixels."""

import math
from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftrans_jax.training.erasing import erase, erased_boxes

NUMBER, HEIGHT, WIDTH = 500, 60, 90
FILL = np.array([1, 2, 3], np.uint8)
BOXES = jax.jit(partial(erased_boxes, number=NUMBER, height=HEIGHT, width=WIDTH))
ERASE = partial(erase, probability=0.99, fill=FILL)
KEYS = st.integers(0, 2**31 - 1).map(jax.random.key)


@settings(deadline=None, max_examples=25)
@given(KEYS)
def test_boxes_lie_inside_and_have_the_published_areas_and_aspects(key):
    top, left, bottom, right = np.asarray(BOXES(key)).T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (bottom <= HEIGHT).all()
    assert (right <= WIDTH).all()
    rows, cols = bottom - top, right - left
    assert ((rows == 0) == (cols == 0)).all()
    there = rows > 0
    assert there.mean() > 0.98  # ten draws nearly always hold one that fits
    rows, cols = rows[there], cols[there]
    assert (rows < HEIGHT).all()
    assert (cols < WIDTH).all()
    # Some box that rounds to these sides has an area and an aspect in their ranges.
    image = HEIGHT * WIDTH
    assert ((rows - 0.5) * (cols - 0.5) <= 0.33 * image).all()
    assert ((rows + 0.5) * (cols + 0.5) >= 0.02 * image).all()
    assert ((rows - 0.5) / (cols + 0.5) <= 3.3).all()
    assert ((rows + 0.5) / (cols - 0.5) >= 0.3).all()


def reference_box(rng, height, width):
    """torchvision's `RandomErasing.get_params`: height and width of the box."""
    for _ in range(10):
        area = height * width * rng.uniform(0.02, 0.33)
        aspect = math.exp(rng.uniform(math.log(0.3), math.log(3.3)))
        rows, cols = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if rows < height and cols < width:
            return rows, cols
    return 0, 0


def test_boxes_are_distributed_as_the_reference(rng):
    boxes = np.concatenate([BOXES(jax.random.key(number)) for number in range(8)])
    sides = boxes[:, 2:] - boxes[:, :2]
    expected = np.array([reference_box(rng, HEIGHT, WIDTH) for _ in range(len(boxes))])
    for values, wanted in ((sides, expected), (np.prod(sides, 1), np.prod(expected, 1))):
        error = 4 * wanted.std(axis=0) * (2 / len(boxes)) ** 0.5
        assert (np.abs(values.mean(axis=0) - wanted.mean(axis=0)) < error).all()
        np.testing.assert_allclose(values.std(axis=0), wanted.std(axis=0), rtol=0.1)
    room = np.array([HEIGHT, WIDTH]) - sides
    place = boxes[:, :2] / room  # uniform from 0 to 1, both ends included
    assert place.min() == 0
    assert place.max() == 1
    np.testing.assert_allclose(place.mean(axis=0), 0.5, atol=0.02)
    assert len(np.unique(boxes, axis=0)) > 0.95 * len(boxes)  # each image's is its own


@pytest.mark.parametrize("probability", [0.0, 0.3])
def test_pixels_of_a_box_become_one_colour_as_often_as_asked(rng, probability):
    images = rng.integers(10, 256, (NUMBER, 24, 36, 3), dtype=np.uint8)
    batch = {"image": images, "label": np.arange(NUMBER)}
    found = jax.jit(partial(erase, probability=probability, fill=FILL))(batch, jax.random.key(1))
    np.testing.assert_array_equal(found["label"], batch["label"])
    after = np.asarray(found["image"])
    assert after.dtype == np.uint8
    gone = (after == FILL).all(axis=-1)
    np.testing.assert_array_equal(after[~gone], images[~gone])
    rows, cols = gone.any(axis=2).sum(axis=1), gone.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(gone.sum(axis=(1, 2)), rows * cols)
    error = 4 * (probability * (1 - probability) / NUMBER) ** 0.5
    assert (rows > 0).mean() == pytest.approx(probability, abs=error + 0.02 * probability)


def test_images_too_small_for_any_box_stay():
    images = np.full((3, 1, 1, 3), 77, np.uint8)
    found = jax.jit(ERASE)({"image": images}, jax.random.key(0))
    np.testing.assert_array_equal(found["image"], images)
