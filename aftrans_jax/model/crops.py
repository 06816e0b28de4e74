"""From a box to what the local branch sees of it: pixels, and the relevance of its patches."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from aftrans_jax.model.geometry import Geometry
from aftrans_jax.model.resize import RESAMPLES, tent

_LEAST_MEAN = 1e-12  # relevance that is divided by; its square is no subnormal number


def crop_and_resize(
    images: Float[Array, "batch height width channels"],
    boxes: Num[Array, "batch 4"],
    size: int,
    resample: str = "antialiased",
) -> Float[Array, "batch size size channels"]:
    """Returns each image's box, stretched to size x size.

    With half-pixel centres, by two small matrix products; pixels outside the box are never read.

    Args:
      images: images from which the boxes are cut.
      boxes: (top, left, bottom, right) in pixels, half-open, not empty, inside the images.
      size: side of the result in pixels.
      resample: one of `resize.RESAMPLES`.

    Choice: antialiased where the crop shrinks; section 2.2.2 says bilinear and no more.

    Choice: the crop is cut from the photo at `data.source_size`; the paper's "raw image" may be it.
    """
    weigh = RESAMPLES[resample]
    height, width = images.shape[1:3]
    top, left, bottom, right = boxes.astype(jnp.float32).T
    rows = weigh(top, bottom, size, height)
    cols = weigh(left, right, size, width)
    return jnp.einsum("bih,bhwc,bjw->bijc", rows, images, cols, precision="highest")


def resample_relevance(
    relevance: Float[Array, "batch rows cols"], boxes: Num[Array, "batch 4"], local: Geometry
) -> Float[Array, "batch patches"]:
    """Returns the relevance at the local branch's patches, scaled to mean 1 per image.

    Where a box has next to none, it stays next to 0.

    By it, given to `aftrans.straight_through_scale`, the local loss reaches the gate.

    Args:
      relevance: on the global branch's patches.
      boxes: place of the local image in the global one, in the latter's pixels.
      local: the local branch's geometry; patch size and stride are the global branch's too.
    """
    boxes = boxes.astype(jnp.float32)
    half = local.patch_size / 2
    num = (local.image_size - local.patch_size) // local.stride + 1
    centres = (local.stride * jnp.arange(num) + half) / local.image_size

    def weights(start: Array, stop: Array, count: int) -> Array:
        pixels = start[:, None] + centres * (stop - start)[:, None]
        return tent(jnp.clip((pixels - half) / local.stride, 0, count - 1), count)

    top, left, bottom, right = boxes.T
    rows = weights(top, bottom, relevance.shape[1])
    cols = weights(left, right, relevance.shape[2])
    sampled = jnp.einsum("bih,bhw,bjw->bij", rows, relevance, cols, precision="highest")
    sampled = sampled.reshape(boxes.shape[0], -1)
    return sampled / jnp.maximum(sampled.mean(axis=-1, keepdims=True), _LEAST_MEAN)
