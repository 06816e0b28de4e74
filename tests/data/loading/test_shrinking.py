"""Shrinking against PIL, to the bit."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aftrans_jax.data.loading.shrinking import shrink_rows

LEVELS = st.sampled_from([2, 256])  # black and white pixels make the largest sums and the most ties


@settings(deadline=None, max_examples=25)
@given(height=st.integers(1, 90), share=st.floats(0, 1), width=st.integers(1, 9), levels=LEVELS)
def test_shrinking_is_pil_s_to_the_bit(height, share, width, levels):
    size = max(1, round(share * height))
    drawn = np.random.default_rng(height).integers(0, levels, (height, width, 3))
    image = (drawn * (255 // (levels - 1))).astype(np.uint8)
    oracle = Image.fromarray(image).resize((width, size), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(shrink_rows(image, size), np.asarray(oracle))


def test_a_hand_computed_shrink():
    # Half the height: the triangle over four rows weighs 1 3 3 1, and 3 3 1 at the upper end.
    image = np.array([0, 70, 140, 210], np.uint8).reshape(4, 1, 1)
    np.testing.assert_array_equal(shrink_rows(image, 2).ravel(), [50, 160])


def test_white_stays_white_at_photo_sizes():
    for height in (449, 500, 896, 4000):
        assert (shrink_rows(np.full((height, 2, 3), 255, np.uint8), 448) == 255).all()
