"""Shrinking against PIL and the float64 reference."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from PIL import Image

from aftrans_jax.model.resize import shrink


@pytest.mark.parametrize(("side", "size"), [(448, 224), (90, 32), (40, 32)])
def test_images_are_shrunk_as_pil_shrinks_them(rng, side, size):
    image = rng.integers(0, 256, (1, side, side, 3)).astype(np.float32)
    found = jax.jit(shrink, static_argnums=1)(image, size)
    expected = oracles.crop(image[0], (0, 0, side, side), size)
    np.testing.assert_allclose(found[0], expected, atol=1e-3)
    as_bytes = Image.fromarray(image[0].astype(np.uint8)).resize((size, size), Image.BILINEAR)
    np.testing.assert_allclose(found[0], np.asarray(as_bytes), atol=1.01)


def test_images_of_the_size_are_not_touched(rng):
    image = jnp.asarray(rng.normal(size=(2, 8, 8, 3)))
    assert shrink(image, 8) is image
