"""Random erasing on the device: a box of an image is filled with one colour."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, UInt8

from aftrans_jax.training.preparation import Rows

_AREAS = (0.02, 0.33)  # share of the image
_ASPECTS = (0.3, 3.3)  # height over width
_ATTEMPTS = 10


def erased_boxes(rng: PRNGKeyArray, number: int, height: int, width: int) -> Int[Array, "number 4"]:
    """Returns boxes (top, left, bottom, right) in pixels, half-open, drawn independently.

    The area is uniform from 2 to 33 % of the image, height over width log-uniform from 0.3 to 3.3,
    the place anywhere in the image. Sides are rounded to whole pixels. The box is empty where ten
    draws do not fit.

    Args:
      rng: random key.
      number: how many boxes to draw.
      height: height of the image in pixels.
      width: width of the image in pixels.
    """
    area_rng, aspect_rng, place_rng = jax.random.split(rng, 3)
    draws = (number, _ATTEMPTS)
    sides = jnp.array([height, width])
    area = height * width * jax.random.uniform(area_rng, draws, jnp.float32, *_AREAS)
    low, high = (math.log(aspect) for aspect in _ASPECTS)
    aspect = jnp.exp(jax.random.uniform(aspect_rng, draws, jnp.float32, low, high))
    drawn = jnp.round(jnp.sqrt(jnp.stack([area * aspect, area / aspect], axis=-1))).astype(
        jnp.int32
    )
    fits = (drawn < sides).all(axis=-1)
    lengths = jnp.take_along_axis(drawn, fits.argmax(axis=1)[:, None, None], axis=1)[:, 0]
    lengths *= fits.any(axis=1)[:, None]
    room = sides - lengths
    start = jnp.floor(jax.random.uniform(place_rng, (number, 2)) * (room + 1)).astype(jnp.int32)
    return jnp.concatenate([start, start + lengths], axis=1)


def erase(
    batch: Rows, rng: PRNGKeyArray, *, probability: float, fill: UInt8[Array | np.ndarray, "3"]
) -> Rows:
    """Returns the batch with a box erased in some images, drawn for each image.

    Args:
      batch: batch with "image" uint8 [batch height width 3].
      rng: random key, a new one for each batch.
      probability: probability that an image loses a box.
      fill: colour of the box, usually the mean of the pixels.

    Follows: torchvision `RandomErasing`; Zhong et al., "Random Erasing Data Augmentation", AAAI
    2020.
    """
    images = batch["image"]
    number, height, width, _ = images.shape
    coin_rng, box_rng = jax.random.split(rng)
    happens = jax.random.bernoulli(coin_rng, probability, (number, 1))
    top, left, bottom, right = erased_boxes(box_rng, number, height, width).T[..., None]
    rows = jnp.arange(height)
    cols = jnp.arange(width)
    rows = (rows >= top) & (rows < bottom) & happens
    cols = (cols >= left) & (cols < right)
    inside = rows[:, :, None, None] & cols[:, None, :, None]
    return {**batch, "image": jnp.where(inside, fill, images)}
