"""From selected patches to a region: mask -> box in pixels of the global image.

Boxes are (top, left, bottom, right), half-open. Patch (r, c) covers pixels
[stride r, stride r + patch) x [stride c, stride c + patch).
"""

import math
from collections.abc import Callable
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from aftrans_jax.model.components import heaviest_component, largest_component
from aftrans_jax.model.geometry import Geometry
from aftrans_jax.model.outputs import Region


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
      relevance: relevance of all patches, >= 0.
      method: one of `REGION_METHODS`.
      geometry: geometry of the patches in the image.
      min_box: a box with a shorter side, in pixels, becomes the whole image, as does an empty mask.

    Paper: end of section 2.2.1.

    Choice: a box covers the whole of its patches; section 2.2.1 says only that it is coordinates.

    Choice: the whole image for an empty mask or a box below `min_box`; the paper has no fallback.
    """
    keep, corner = REGION_METHODS[method]
    kept = keep(mask, relevance)
    size = geometry.image_size
    top, bottom = _extent(kept.any(axis=2), geometry)
    left, right = _extent(kept.any(axis=1), geometry)
    usable = jnp.minimum(bottom - top, right - left) >= min_box
    usable &= kept.any(axis=(1, 2))
    boxes = jnp.stack([top, left, bottom, right], axis=-1)
    boxes = jnp.where(usable[:, None], boxes, jnp.array([0, 0, size, size], jnp.int32))
    if corner is None:
        return boxes
    sides = boxes[:, 2:] - boxes[:, :2]
    corners = corner(size - sides, relevance)
    return jnp.concatenate([corners, corners + sides], axis=1)


def find_region(
    mask: Bool[Array, "batch patches"],
    relevance: Float[Array, "batch patches"],
    scale: float,
    *,
    method: str,
    geometry: Geometry,
    min_box: int,
) -> Region:
    """Returns the region, without gates.

    Args:
      mask: selected patches, in raster order; there are as many rows as columns.
      relevance: relevance of all patches.
      scale: pixels of the image to be cropped for one of the image of these patches.
      method: one of `REGION_METHODS`.
      geometry: geometry of the patches in their image.
      min_box: shorter side that a box must have in that image, see `locate_region`.
    """
    side = math.isqrt(mask.shape[1])
    grids = [x.reshape(-1, side, side) for x in (mask, relevance)]
    box = locate_region(*grids, method=method, geometry=geometry, min_box=min_box)
    box = jnp.round(scale * box).astype(jnp.int32)
    return Region(gate=None, relevance=grids[1], mask=grids[0], box=box)


def most_relevant_component(
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


def random_corner(
    room: Int[Array, "batch 2"], relevance: Float[Array, "batch rows cols"]
) -> Int[Array, "batch 2"]:
    """Returns corners anywhere in the room that boxes leave, below and to the right.

    They are drawn from the bits of the relevance: an evaluation draws the same ones every time,
    training others as the weights change.
    """
    bits = jax.lax.bitcast_convert_type(relevance, jnp.int32).sum(axis=(1, 2))
    keys = jax.vmap(jax.random.key)(bits)
    drawn = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(keys)
    return jnp.floor(drawn * (room + 1)).astype(jnp.int32)


class Method(NamedTuple):
    """A way to find a box; the defaults are the paper's.

    Attributes:
      keep: function of mask and relevance to the patches that the box spans; without any, the box
        is the whole image.
      corner: function of the pixels [batch 2] that the box leaves in the image and of the relevance
        to its upper left corner; with None it stays around its patches.
    """

    keep: Callable[[Array, Array], Array] = lambda mask, _: largest_component(mask)
    corner: Callable[[Array, Array], Array] | None = None


REGION_METHODS = MappingProxyType(
    {
        "largest_component": Method(),  # Paper: section 2.2.1, table 6
        "most_relevant_component": Method(most_relevant_component),
        "extreme_values": Method(lambda mask, _: mask),  # Paper: table 6, the alternative
        # Controls: attention finds a box's sides and not its place; of the whole image, neither.
        "centred": Method(corner=lambda room, _: room // 2),
        "random": Method(corner=random_corner),
        "whole": Method(lambda mask, _: jnp.zeros_like(mask)),
    }
)


def _extent(line: Array, geometry: Geometry) -> tuple[Array, Array]:
    """Returns the first and last pixel, half-open, of the True patches along one axis."""
    first = jnp.argmax(line, axis=-1)
    last = line.shape[-1] - 1 - jnp.argmax(line[:, ::-1], axis=-1)
    start = geometry.stride * first
    stop = geometry.stride * last + geometry.patch_size
    return start.astype(jnp.int32), stop.astype(jnp.int32)
