"""Bilinear resizing by matrices, whose weights say how much each pixel counts; a leaf."""

from types import MappingProxyType

import jax.numpy as jnp
from jaxtyping import Array, Float


def shrink(
    images: Float[Array, "batch side side channels"], size: int
) -> Float[Array, "batch size size channels"]:
    """Returns square images at size x size, bilinear with antialiasing, as PIL shrinks them.

    Images of that size are returned as they are.
    """
    side = images.shape[1]
    if side == size:
        return images
    weights = _antialiased(jnp.zeros(1), jnp.full(1, side), size, side)[0]
    return jnp.einsum("ih,bhwc,jw->bijc", weights, images, weights, precision="highest")


def tent(
    positions: Float[Array, "batch positions"],
    count: int,
    width: Float[Array, "batch 1 1"] | float = 1.0,
) -> Float[Array, "batch positions count"]:
    """Returns the weights of `count` pixels: 1 at a position, falling to 0 at `width` from it."""
    return jnp.maximum(0.0, 1.0 - jnp.abs(positions[..., None] - jnp.arange(count)) / width)


def _bilinear(start: Array, stop: Array, size: int, count: int) -> Array:
    """Returns the weights [batch size count] of torch's `interpolate`, without antialiasing."""
    positions = _centres(start, stop, size)
    return tent(jnp.clip(positions, start[:, None], stop[:, None] - 1), count)


def _antialiased(start: Array, stop: Array, size: int, count: int) -> Array:
    """Returns the weights [batch size count] of PIL's bilinear filter, widened where it shrinks."""
    width = jnp.maximum((stop - start) / size, 1)[:, None, None]
    weights = tent(_centres(start, stop, size), count, width)
    pixels = jnp.arange(count)
    weights *= (pixels >= start[:, None, None]) & (pixels < stop[:, None, None])
    return weights / weights.sum(axis=-1, keepdims=True)


RESAMPLES = MappingProxyType({"antialiased": _antialiased, "bilinear": _bilinear})


def _centres(start: Array, stop: Array, size: int) -> Array:
    """Returns where the middles of `size` pixels lie in a span, as fractional pixel numbers."""
    centres = (jnp.arange(size) + 0.5) / size
    return start[:, None] + centres * (stop - start)[:, None] - 0.5
