"""Mixup and CutMix on the device: two images in one, with labels in the same proportions."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from aftrans_jax.training.preparation import Rows

# Random numbers, shape of the images (number, height, width), strength -> share of each pixel
# that comes from its own image, in [0, 1]; axes of length 1 are broadcast over all pixels.
Shares = Callable[[PRNGKeyArray, tuple[int, int, int], float], Float[Array, "batch _ _"]]


def unmixed(
    rng: PRNGKeyArray, shape: tuple[int, int, int], strength: float
) -> Float[Array, "batch 1 1"]:
    """Returns 1: no image is mixed."""
    del rng, strength
    return jnp.ones((shape[0], 1, 1))


def mixup(
    rng: PRNGKeyArray, shape: tuple[int, int, int], strength: float
) -> Float[Array, "batch 1 1"]:
    """Returns one share for all pixels of each image, drawn from Beta(strength, strength).

    Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018; drawn for each pair.
    """
    return jax.random.beta(rng, strength, strength, (shape[0], 1, 1))


def cutmix(
    rng: PRNGKeyArray, shape: tuple[int, int, int], strength: float
) -> Float[Array, "batch height width"]:
    """Returns 0 inside a box of each image and 1 elsewhere.

    The box has the image's aspect ratio, an area of 1 - Beta(strength, strength) of the image, and
    its centre anywhere; it is clipped at the edges.

    Yun et al., "CutMix", ICCV 2019.
    """
    number, *sides = shape
    beta_rng, place_rng = jax.random.split(rng)
    ratio = jnp.sqrt(1 - jax.random.beta(beta_rng, strength, strength, (number,)))
    centres = jax.random.uniform(place_rng, (number, 2)) * jnp.array(sides)
    inside = []
    for axis, side in enumerate(sides):
        centre = jnp.floor(centres[:, axis])
        length = jnp.floor(side * ratio)
        start = jnp.clip(centre - length // 2, 0, side)[:, None]
        stop = jnp.clip(centre + length // 2, 0, side)[:, None]
        pixels = jnp.arange(side)
        inside.append((pixels >= start) & (pixels < stop))
    rows, cols = inside
    return 1 - (rows[:, :, None] & cols[:, None, :]).astype(jnp.float32)


def mixup_or_cutmix(
    rng: PRNGKeyArray, shape: tuple[int, int, int], strength: float
) -> Float[Array, "batch height width"]:
    """Returns `mixup`'s shares for about half of the images and `cutmix`'s for the others."""
    coin_rng, mixup_rng, cutmix_rng = jax.random.split(rng, 3)
    coins = jax.random.bernoulli(coin_rng, shape=(shape[0], 1, 1))
    return jnp.where(coins, mixup(mixup_rng, shape, strength), cutmix(cutmix_rng, shape, strength))


MIXINGS: Mapping[str, Shares] = MappingProxyType(
    {"none": unmixed, "mixup": mixup, "cutmix": cutmix, "both": mixup_or_cutmix}
)


def partners(mask: Bool[Array, " batch"]) -> Int[Array, " batch"]:
    """Returns the row that is mixed into each row: the next one whose mask is set, cyclically.

    So each real row is mixed into one other; batches are shuffled already. A padding row is its own
    partner, and so is the only real row of a batch.
    """
    there_first = jnp.argsort(~mask, stable=True)
    place = jnp.cumsum(mask) - 1  # among the real rows
    following = there_first[(place + 1) % jnp.maximum(mask.sum(), 1)]
    return jnp.where(mask, following, jnp.arange(len(mask)))


def mix(batch: Rows, rng: PRNGKeyArray, *, shares: Shares, strength: float) -> Rows:
    """Returns the batch with another image mixed into each, and targets in the same proportions.

    Pairs are formed within the given rows: each device mixes its own, before accumulation splits
    them. Images stay uint8 of 0..255, rounded; the model normalises them. "label" becomes the one
    with the larger share, from which the training accuracy is computed. A branch that sees a crop
    has the target of the full image.

    Args:
      batch: batch with "image", "label", "mask" and "target".
      rng: random key, a new one for each batch.
      shares: one of `MIXINGS`.
      strength: both parameters of the beta distribution: 1 is uniform, below 1 favours shares near
        0 and 1, above 1 favours shares near a half.

    Follows: timm `FastCollateMixup`, which mixes uint8 as well.
    """
    images = batch["image"]
    labels = batch["label"]
    target = batch["target"]
    partner = partners(batch["mask"])
    number, height, width, _ = images.shape
    own = shares(rng, (number, height, width), strength)
    share = own.mean(axis=(1, 2))
    mixed = own[..., None] * images + (1 - own[..., None]) * images[partner]
    return {
        **batch,
        "image": jnp.round(mixed).astype(images.dtype),
        "label": jnp.where(share >= 0.5, labels, labels[partner]),
        "target": share[:, None] * target + (1 - share[:, None]) * target[partner],
    }
