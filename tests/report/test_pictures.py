import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import picture

from aftrans_jax.report.pictures import (
    PREDICTED,
    Picture,
    draw_box,
    overlay_heat,
    strip,
)


def test_draw_box_golden():
    blank = np.zeros((5, 6, 3), np.uint8)
    drawn = draw_box(blank, (1, 2, 4, 6), (7, 8, 9), 1)
    expected = ["......", "..####", "..#..#", "..####", "......"]
    np.testing.assert_array_equal(drawn[..., 0] == 7, [[c == "#" for c in r] for r in expected])
    assert set(map(tuple, drawn.reshape(-1, 3).tolist())) == {(0, 0, 0), (7, 8, 9)}
    assert not blank.any(), "the argument must stay as it was"


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((2, 3, 4, 5), (2, 3, 4, 5)),
        ((9, 3, 9, 3), (7, 3, 8, 4)),  # empty: still one pixel
        ((-9, -9, 99, 99), (0, 0, 8, 8)),  # the whole image and more
        ((20.0, 20.0, 30.0, 30.0), (7, 7, 8, 8)),  # beside it: the nearest pixel
        ((0.4, 5.6, 7.6, 8.0), (0, 6, 8, 8)),
    ],
)
def test_draw_box_covers_the_extent_of(box, expected):
    drawn = draw_box(np.zeros((8, 8, 3), np.uint8), box, (1, 1, 1), 1)
    rows, cols = drawn[..., 0].nonzero()
    assert (rows.min(), cols.min(), rows.max() + 1, cols.max() + 1) == expected


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_draw_box_names_a_box_that_is_not_finite(bad):
    with pytest.raises(ValueError, match=r"box \(0, (nan|inf), 4, 4\).*top, left, bottom, right"):
        draw_box(np.zeros((8, 8, 3), np.uint8), (0, bad, 4, 4), (1, 1, 1), 1)


def test_overlay_heat_golden():
    relevance = np.array([[0.5, 0.75, 1.0]])  # 0, 1/2 and 1 of its range
    heat = overlay_heat(np.full((1, 33, 3), 100, np.uint8), relevance)
    colors = np.array(
        [[0, 0, 4], [181.5, 56, 119], [252, 253, 191]]
    )  # 1/2 lies between two anchors
    np.testing.assert_array_equal(heat[0, [5, 16, 27]], (35 + 0.65 * colors).round())
    between = overlay_heat(np.full((1, 4, 3), 100, np.uint8), np.array([[0.0, 1.0]]))
    np.testing.assert_array_equal(between[0, 1], [87, 49, 110])  # 1/4: 35 + 0.65 (80, 22.25, 115.5)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.floats(0, 1e30), min_size=12, max_size=12),
    st.sampled_from([np.float16, np.float32, np.float64]),
)
def test_overlay_heat_is_monotone(values, dtype):
    with np.errstate(over="ignore"):
        relevance = np.array(values, dtype).reshape(3, 4)
    relevance[~np.isfinite(relevance)] = 0
    heat = overlay_heat(np.full((45, 60, 3), 90, np.uint8), relevance)
    light = heat.astype(float) @ [0.2126, 0.7152, 0.0722]
    centres = light[7::15, 7::15].ravel()
    order = np.argsort(relevance.ravel(), kind="stable")
    assert (np.diff(centres[order]) >= -0.5).all()  # brightness follows, up to rounding to uint8
    assert centres[relevance.argmax()] >= light.max() - 0.5  # no place outshines the hottest cell


@pytest.mark.parametrize("value", [0.0, 1e-40, 3.5, np.nan, np.inf])
def test_overlay_heat_of_a_map_that_says_nothing_is_cold(value):
    image = np.full((6, 6, 3), 200, np.uint8)
    heat = overlay_heat(image, np.full((3, 3), value))
    np.testing.assert_array_equal(heat, np.broadcast_to(heat[0, 0], heat.shape))
    np.testing.assert_array_equal(heat[0, 0], [70, 70, 73])  # 0.35 * 200 + 0.65 * (0, 0, 4)


@pytest.mark.parametrize("size", [64, 224])
def test_a_strip_has_what_is_known_beside_each_other_all_as_high(size):
    shown = 320 if size == 64 else size  # enlarged, or as it is
    for changes, num_squares in (
        ({}, 3),
        ({"relevance": None}, 2),
        ({"box": None}, 2),
        ({"box": None, "relevance": None}, 1),
    ):
        found = strip(picture(size=size, **changes))
        assert found.shape == (shown, num_squares * shown, 3)


def test_a_strip_changes_no_argument():
    image = picture().image
    before = image.copy()
    strip(picture(image=image))
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
def test_a_strip_names_an_image_that_is_none(image):
    with pytest.raises(ValueError, match=r"bird_0\.jpg.*: pass uint8 \[height width 3\]"):
        strip(picture(image=image))


def test_an_outline_has_a_rim_of_one_px_on_either_side():
    picture = Picture("a", np.full((320, 320, 3), 255, np.uint8), (100, 100, 200, 200))
    rim, white = (16, 18, 22), (255, 255, 255)
    column = [tuple(pixel) for pixel in strip(picture)[98:105, 150].tolist()]
    assert column == [white, rim, *[PREDICTED] * 3, rim, white]
