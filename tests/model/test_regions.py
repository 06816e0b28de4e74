"""Boxes against scipy, the float64 reference and goldens."""

from functools import partial

import jax
import numpy as np
import oracles
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aftrans_jax.model.geometry import Geometry
from aftrans_jax.model.regions import REGION_METHODS, locate_region

GEOMETRY = Geometry(image_size=448, patch_size=16, stride=12)  # 37 x 37 patches
SMALL = Geometry(image_size=40, patch_size=8, stride=4)  # 9 x 9


FOUND = ("largest_component", "most_relevant_component", "extreme_values", "whole")


@partial(jax.jit, static_argnums=(2, 3, 4))
def locate(mask, relevance, geometry, min_box, method):
    return locate_region(mask, relevance, method=method, geometry=geometry, min_box=min_box)


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
    assert (
        tuple(locate(mask, np.ones(mask.shape), GEOMETRY, 16, "largest_component")[0].tolist())
        == box
    )


def test_an_empty_mask_becomes_the_image_with_the_pixels_beyond_the_last_patch():
    found = locate(np.zeros((1, 9, 9), bool), np.ones((1, 9, 9)), Geometry(43, 8, 4), 12, FOUND[0])
    assert tuple(found[0].tolist()) == (0, 0, 43, 43)


def test_of_two_components_as_relevant_the_first_is_taken_and_not_the_larger():
    mask, relevance = np.zeros((1, 37, 37), bool), np.full((1, 37, 37), 0.5)
    mask[0, 0, 0], relevance[0, 0, 0] = True, 1.0
    mask[0, 20, 20:22] = True
    box = locate(mask, relevance, GEOMETRY, 16, "most_relevant_component")
    assert tuple(box[0].tolist()) == (0, 0, 16, 16)


def test_of_components_without_relevance_the_largest_is_taken():
    mask = np.zeros((1, 37, 37), bool)
    mask[0, 5, 5] = mask[0, 20, 20:22] = True
    box = locate(mask, np.zeros(mask.shape), GEOMETRY, 16, "most_relevant_component")
    assert tuple(box[0].tolist()) == (240, 240, 256, 268)


def test_a_box_below_min_box_on_either_side_becomes_the_image():
    mask = np.zeros((1, 37, 37), bool)
    mask[0, 5, 5:20] = True  # 16 px high
    for min_box, expected in ((16, (60, 60, 76, 244)), (17, (0, 0, 448, 448))):
        box = locate(mask, np.ones(mask.shape), GEOMETRY, min_box, "extreme_values")
        assert tuple(box[0].tolist()) == expected


def test_the_most_relevant_component_may_be_the_smaller_one():
    mask, relevance = np.zeros((1, 37, 37), bool), np.full((1, 37, 37), 0.01)
    mask[0, 0, :9] = True
    mask[0, 20, 20:22] = True
    relevance[0, 20, 20] = 0.2  # more than the nine patches together
    box = locate(mask, relevance, GEOMETRY, 16, "most_relevant_component")
    assert tuple(box[0].tolist()) == (240, 240, 256, 268)
    assert tuple(locate(mask, relevance, GEOMETRY, 16, "largest_component")[0].tolist()) == (
        *(0, 0, 16, 112),
    )
    masks, unlike = mask.repeat(2, axis=0), np.concatenate([relevance, 1e8 * relevance])
    boxes = locate(masks, unlike, GEOMETRY, 16, "most_relevant_component")
    np.testing.assert_array_equal(boxes, [box[0], box[0]])  # each image by itself


def test_many_patches_as_relevant_are_summed_without_overflow():
    """109 x 109 patches, of 10,000 of which each is the most relevant."""
    mask = np.ones((1, 109, 109), bool)
    mask[0, 100] = mask[0, 101:, 10:] = False
    box = locate(mask, mask / 4, Geometry(448, 16, 4), 16, "most_relevant_component")
    assert tuple(box[0].tolist()) == (0, 0, 412, 448)


MASKS = hnp.arrays(bool, (3, 9, 9))
# Quarters: sums are exact, so that two components that tie do so in every arithmetic.
RELEVANCE = hnp.arrays(np.float32, (3, 9, 9), elements=st.sampled_from([0.25, 0.5, 0.75, 1.0]))


@settings(deadline=None, max_examples=40)
@given(MASKS, RELEVANCE, st.sampled_from(FOUND))
def test_boxes_agree_with_scipy(masks, relevance, method):
    relevance[:, 0, 0] = 1.0  # of which the others are shares
    for mask, row, box in zip(
        masks, relevance, locate(masks, relevance, SMALL, 12, method), strict=True
    ):
        expected = oracles.box_from_mask(mask, row, 8, 4, 40, 12, method)
        assert tuple(box.tolist()) == expected


@settings(deadline=None, max_examples=30)
@given(MASKS, st.sampled_from(["centred", "random"]), st.integers(0, 2**31))
def test_controls_have_the_sides_of_the_box_that_attention_found(masks, method, seed):
    relevance = np.random.default_rng(seed).random((3, 9, 9), np.float32)
    found = np.array(locate(masks, relevance, SMALL, 12, "largest_component"))
    boxes = np.array(locate(masks, relevance, SMALL, 12, method))
    np.testing.assert_array_equal(boxes[:, 2:] - boxes[:, :2], found[:, 2:] - found[:, :2])
    assert boxes.min() >= 0
    assert boxes.max() <= 40
    if method == "centred":
        assert np.abs(boxes[:, :2] + boxes[:, 2:] - 40).max() <= 1
    np.testing.assert_array_equal(boxes, locate(masks, relevance, SMALL, 12, method))


def test_random_boxes_lie_everywhere_alike(rng):
    mask = np.zeros((2000, 9, 9), bool)
    mask[:, 4:6, 4:6] = True  # 12 px square: 29 places along each side
    relevance = rng.random(mask.shape).astype(np.float32)
    corners = np.array(locate(mask, relevance, SMALL, 12, "random"))[:, :2]
    for counts in (np.bincount(corners[:, axis], minlength=29) for axis in (0, 1)):
        assert len(counts) == 29
        assert scipy.stats.chisquare(counts).pvalue > 1e-4
    assert abs(np.corrcoef(corners.T)[0, 1]) < 0.1


def test_every_method_is_tested():
    assert set(REGION_METHODS) == {*FOUND, "centred", "random"}
