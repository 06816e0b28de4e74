"""From selected patches to a region: mask -> box in pixels -> bilinear crop.

Boxes are (top, left, bottom, right), half-open, in pixels of the global image. Patch (r, c) covers
pixels [stride r, stride r + patch) x [stride c, stride c + patch).
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from aftrans_jax.model.components import largest_component

Locate = Callable[[Array], Array]


class Geometry(NamedTuple):
    """How patches lie in a branch's image; all in pixels.

    Paper: section 3.2.
    """

    image_size: int
    patch_size: int
    stride: int


def locate_region(
    mask: Bool[Array, "batch rows cols"], *, method: str, geometry: Geometry, min_box: int
) -> Int[Array, "batch 4"]:
    """Returns the box around the selected patches.

    Args:
      mask: selected patches.
      method: one of `REGION_METHODS`.
      geometry: of the patches in the image.
      min_box: a box with a shorter side, in pixels, becomes the whole image, as does an empty mask.

    Paper: end of section 2.2.1.

    Choice: a box covers the whole of its patches; section 2.2.1 says only that it is coordinates.

    Choice: the whole image for an empty mask or a box below `min_box`; the paper has no fallback.
    """
    kept = REGION_METHODS[method](mask)
    top, bottom = _extent(kept.any(axis=2), geometry)
    left, right = _extent(kept.any(axis=1), geometry)
    boxes = jnp.stack([top, left, bottom, right], axis=-1)
    usable = jnp.minimum(bottom - top, right - left) >= min_box
    usable &= kept.any(axis=(1, 2))
    whole = jnp.array([0, 0, geometry.image_size, geometry.image_size], jnp.int32)
    return jnp.where(usable[:, None], boxes, whole)


def extreme_values(mask: Bool[Array, "batch rows cols"]) -> Bool[Array, "batch rows cols"]:
    """Returns the mask as it is: the box then spans its extreme rows and columns.

    Paper: table 6, the alternative to the largest component.
    """
    return mask


REGION_METHODS = MappingProxyType(
    {"largest_component": largest_component, "extreme_values": extreme_values}
)


def _extent(line: Array, geometry: Geometry) -> tuple[Array, Array]:
    """Returns the first and last pixel, half-open, of the True patches along one axis."""
    first = jnp.argmax(line, axis=-1)
    last = line.shape[-1] - 1 - jnp.argmax(line[:, ::-1], axis=-1)
    start, stop = geometry.stride * first, geometry.stride * last + geometry.patch_size
    return start.astype(jnp.int32), stop.astype(jnp.int32)


def crop_and_resize(
    images: Float[Array, "batch height width channels"], boxes: Int[Array, "batch 4"], size: int
) -> Float[Array, "batch size size channels"]:
    """Returns each image's box, stretched to size x size.

    Bilinear with half-pixel centres, as torch's `interpolate` does it, by two small matrix
    products; pixels outside the box are never read.

    Choice: no antialiasing where the crop shrinks; section 2.2.2 says bilinear and no more.

    Choice: the crop is cut from the resized image; the paper's "raw image" may be its source.
    """
    boxes = boxes.astype(jnp.float32)
    centres = (jnp.arange(size) + 0.5) / size

    def positions(start: Array, stop: Array) -> Array:
        inside = start[:, None] + centres * (stop - start)[:, None] - 0.5
        return jnp.clip(inside, start[:, None], stop[:, None] - 1)

    top, left, bottom, right = boxes.T
    return _sample(images, positions(top, bottom), positions(left, right))


def resample_relevance(
    relevance: Float[Array, "batch rows cols"],
    boxes: Int[Array, "batch 4"],
    local: Geometry,
) -> Float[Array, "batch patches"]:
    """Returns the relevance at the local branch's patches, scaled to mean 1 per image.

    It is the weight of `aftrans.straight_through`, by which the local loss reaches the gate.

    Args:
      relevance: on the global branch's patches.
      boxes: where the local image lies in the global one.
      local: the local branch's geometry; patch size and stride are the global branch's too.
    """
    boxes = boxes.astype(jnp.float32)
    half = local.patch_size / 2
    num = (local.image_size - local.patch_size) // local.stride + 1
    centres = (local.stride * jnp.arange(num) + half) / local.image_size

    def positions(start: Array, stop: Array, count: int) -> Array:
        pixels = start[:, None] + centres * (stop - start)[:, None]
        return jnp.clip((pixels - half) / local.stride, 0, count - 1)

    top, left, bottom, right = boxes.T
    rows = positions(top, bottom, relevance.shape[1])
    cols = positions(left, right, relevance.shape[2])
    sampled = _sample(relevance[..., None], rows, cols).reshape(len(boxes), -1)
    return sampled / sampled.mean(axis=-1, keepdims=True)


def _sample(images: Array, rows: Array, cols: Array) -> Array:
    """Returns images [b h w c] at the outer product of fractional rows [b i] and columns [b j]."""
    row_weights = _tent(rows, images.shape[1])
    col_weights = _tent(cols, images.shape[2])
    return jnp.einsum("bih,bhwc,bjw->bijc", row_weights, images, col_weights, precision="highest")


def _tent(positions: Array, count: int) -> Array:
    """Returns bilinear weights [b positions count]: at most two neighbours, summing to 1."""
    return jnp.maximum(0.0, 1.0 - jnp.abs(positions[..., None] - jnp.arange(count)))
