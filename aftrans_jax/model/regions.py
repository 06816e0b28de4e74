"""From selected patches to a region: mask -> box in pixels of the global image.

Boxes are (top, left, bottom, right), half-open. Patch (r, c) covers pixels
[stride r, stride r + patch) x [stride c, stride c + patch).
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from aftrans_jax.model.components import heaviest_component, largest_component

Locate = Callable[[Array, Array], Array]  # of mask and relevance, see `locate_region`


class Geometry(NamedTuple):
    """How patches lie in a branch's image; all in pixels.

    Paper: section 3.2.
    """

    image_size: int
    patch_size: int
    stride: int


def locate_region(
    mask: Bool[Array, "batch rows cols"],
    relevance: Float[Array, "batch rows cols"],
    *,
    method: str,
    geometry: Geometry,
    min_box: int,
) -> Int[Array, "batch 4"]:
    """Returns the box around the selected patches.

    Args:
      mask: selected patches.
      relevance: of all patches, >= 0.
      method: one of `REGION_METHODS`.
      geometry: of the patches in the image.
      min_box: a box with a shorter side, in pixels, becomes the whole image, as does an empty mask.

    Paper: end of section 2.2.1.

    Choice: a box covers the whole of its patches; section 2.2.1 says only that it is coordinates.

    Choice: the whole image for an empty mask or a box below `min_box`; the paper has no fallback.
    """
    keep, place = REGION_METHODS[method]
    kept = keep(mask, relevance)
    top, bottom = _extent(kept.any(axis=2), geometry)
    left, right = _extent(kept.any(axis=1), geometry)
    boxes = jnp.stack([top, left, bottom, right], axis=-1)
    usable = jnp.minimum(bottom - top, right - left) >= min_box
    usable &= kept.any(axis=(1, 2))
    boxes = jnp.where(usable[:, None], boxes, whole(boxes, relevance, geometry.image_size))
    return place(boxes, relevance, geometry.image_size)


def largest(
    mask: Bool[Array, "batch rows cols"], relevance: Float[Array, "batch rows cols"]
) -> Bool[Array, "batch rows cols"]:
    """Returns the component of most patches.

    Paper: section 2.2.1, table 6.
    """
    del relevance
    return largest_component(mask)


def most_relevant(
    mask: Bool[Array, "batch rows cols"], relevance: Float[Array, "batch rows cols"]
) -> Bool[Array, "batch rows cols"]:
    """Returns the component of most relevance, summed over its patches.

    Choice: an option beside the paper's largest component, which may miss the hottest patch.
    """
    # In steps of a part in a million of the largest, so that sums are the same in any order; in
    # larger ones where so many patches of the largest would weigh 2^31 together.
    steps = min(10**6, (2**31 - 1) // relevance[0].size)
    share = relevance / jnp.maximum(relevance.max(axis=(1, 2), keepdims=True), 1e-30)
    return heaviest_component(mask, jnp.maximum(jnp.round(share * steps), 1).astype(jnp.int32))


def extreme_values(
    mask: Bool[Array, "batch rows cols"], relevance: Float[Array, "batch rows cols"]
) -> Bool[Array, "batch rows cols"]:
    """Returns the mask as it is: the box then spans its extreme rows and columns.

    Paper: table 6, the alternative to the largest component.
    """
    del relevance
    return mask


def found(
    boxes: Int[Array, "batch 4"], relevance: Float[Array, "batch rows cols"], image_size: int
) -> Int[Array, "batch 4"]:
    """Returns the boxes where attention found them."""
    del relevance, image_size
    return boxes


def centred(
    boxes: Int[Array, "batch 4"], relevance: Float[Array, "batch rows cols"], image_size: int
) -> Int[Array, "batch 4"]:
    """Returns boxes of the same sides in the middle of the image: a control without attention."""
    del relevance
    return _moved(boxes, (image_size - _sides(boxes)) // 2)


def random(
    boxes: Int[Array, "batch 4"], relevance: Float[Array, "batch rows cols"], image_size: int
) -> Int[Array, "batch 4"]:
    """Returns boxes of the same sides anywhere in the image: a control without attention.

    The place is drawn from the bits of the relevance: an evaluation draws the same one every time,
    training another one as the weights change.
    """
    bits = jax.lax.bitcast_convert_type(relevance, jnp.int32).sum(axis=(1, 2))
    keys = jax.vmap(jax.random.key)(bits)
    drawn = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(keys)
    return _moved(boxes, jnp.floor(drawn * (image_size - _sides(boxes) + 1)).astype(jnp.int32))


def whole(
    boxes: Int[Array, "batch 4"], relevance: Float[Array, "batch rows cols"], image_size: int
) -> Int[Array, "batch 4"]:
    """Returns the whole image: a control without attention."""
    del relevance
    return jnp.broadcast_to(jnp.array([0, 0, image_size, image_size], jnp.int32), boxes.shape)


class Method(NamedTuple):
    """Which patches the box spans, and where the box is put."""

    keep: Callable[[Array, Array], Array]
    place: Callable[[Array, Array, int], Array]


REGION_METHODS = MappingProxyType(
    {
        "largest_component": Method(largest, found),
        "most_relevant_component": Method(most_relevant, found),
        "extreme_values": Method(extreme_values, found),
        "centred": Method(largest, centred),
        "random": Method(largest, random),
        "whole": Method(extreme_values, whole),
    }
)


def _extent(line: Array, geometry: Geometry) -> tuple[Array, Array]:
    """Returns the first and last pixel, half-open, of the True patches along one axis."""
    first = jnp.argmax(line, axis=-1)
    last = line.shape[-1] - 1 - jnp.argmax(line[:, ::-1], axis=-1)
    start, stop = geometry.stride * first, geometry.stride * last + geometry.patch_size
    return start.astype(jnp.int32), stop.astype(jnp.int32)


def _sides(boxes: Array) -> Array:
    return boxes[:, 2:] - boxes[:, :2]


def _moved(boxes: Array, corners: Array) -> Array:
    """Returns the boxes with their upper left corners elsewhere."""
    return jnp.concatenate([corners, corners + _sides(boxes)], axis=1)
