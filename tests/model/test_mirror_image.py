"""A second pass on the mirror image: mean logits, the image's own region, mirrored boxes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aftrans_jax.model.mirror import mirrored
from aftrans_jax.model.outputs import ModelOutput, Region

HEIGHT, WIDTH = 4, 6


def looking(images, boxes=None):
    """Logits that tell left from right, and the boxes that were asked for."""
    x = jnp.asarray(images, jnp.float32)
    logits = {"global": x[:, 0, :, 0], "local": x[:, 1, :, 1] ** 2}
    found = x[:, 2, :4, 2] if boxes is None else boxes
    region = Region(None, x[..., 0], x[..., 0] > 3, found)
    return ModelOutput(logits, {"global": x[:, 3, :, 0]}, region)


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (3, HEIGHT, WIDTH, 3), dtype=np.uint8)


def test_two_looks_have_mean_logits_and_the_images_own_region(images):
    found, own = mirrored(looking)(images), looking(images)
    x = images.astype(np.float64)
    for name, values in (("global", x[:, 0, :, 0]), ("local", x[:, 1, :, 1] ** 2)):
        np.testing.assert_allclose(found.logits[name], (values + values[:, ::-1]) / 2)
    jax.tree.map(np.testing.assert_array_equal, found[1:], own[1:])
    turned = mirrored(looking)(images[:, :, ::-1])
    jax.tree.map(np.testing.assert_allclose, turned.logits, found.logits)


def test_boxes_that_are_asked_for_are_mirrored_for_the_mirror_image(images):
    seen = []

    def noting(images, boxes):
        seen.append((np.asarray(images), np.asarray(boxes)))
        return looking(images, boxes)

    boxes = jnp.array([[0, 1, 2, 3.0], [1, 0, 4, 6.0], [np.nan] * 4])
    found = mirrored(noting)(images, boxes=boxes)
    np.testing.assert_array_equal(found.region.box, boxes)
    (image, first), (turned, second) = seen
    np.testing.assert_array_equal(first, boxes)
    np.testing.assert_array_equal(second, [[0, 3, 2, 5], [1, 0, 4, 6], [np.nan] * 4])
    for row in range(2):  # the same pixels lie in both boxes
        (top, left, bottom, right), other = first[row].astype(int), second[row].astype(int)
        cut = image[row, top:bottom, left:right]
        again = turned[row, other[0] : other[2], other[1] : other[3]]
        np.testing.assert_array_equal(again[:, ::-1], cut)
