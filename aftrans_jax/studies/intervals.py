"""Means over seeds, and paired differences with a bootstrap interval over images and seeds."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import bootstrap

NUM_RESAMPLES = 4999
LEAST_DIFFERING = 10  # images needed for an interval: with fewer it would be too narrow
_SHARE = 0.95


class Interval(NamedTuple):
    """A difference of accuracies and its 95 % interval, all in percentage points.

    Attributes:
      difference: difference of the accuracies.
      low: lower end of the interval, NaN where there is none.
      high: upper end of the interval, NaN where there is none.
      num_differing: images that only one of the settings classifies correctly, with any seed.
    """

    difference: float
    low: float
    high: float
    num_differing: int


def mean_and_deviation(values: Float[np.ndarray, " seeds"]) -> tuple[float, float]:
    """Returns the mean and the sample standard deviation; NaN for that of a single value."""
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def paired_difference(
    ours: Bool[np.ndarray, "seeds images"], base: Bool[np.ndarray, "seeds images"]
) -> Interval:
    """Returns the difference in accuracy of two settings on the same images, with its interval.

    Images and seeds are resampled, each with replacement and independently of the other; both
    settings see the same sample. The interval holds the middle 95 % of the differences (percentile
    bootstrap). With a single seed only images are resampled. There is no interval where the
    settings differ on fewer than `LEAST_DIFFERING` images: with so few, samples vary less than
    other images would, and with none they do not vary.

    Args:
      ours: whether each image is classified correctly, by seed.
      base: the same for the setting to compare with; rows and columns are those of `ours`.
    """
    gains = 100 * (ours.astype(np.float64) - base)
    num_seeds, num_images = gains.shape
    difference = float(gains.mean())
    num_differing = int(gains.any(axis=0).sum())
    if num_differing < LEAST_DIFFERING:
        return Interval(difference, float("nan"), float("nan"), num_differing)
    samples = [np.arange(num_images), np.arange(num_seeds)]

    def statistic(
        images: Int[np.ndarray, "... images"],
        seeds: Int[np.ndarray, "... seeds"] | None = None,
        axis: int = -1,
    ) -> Float[np.ndarray, "..."]:
        by_image = gains.mean(axis=0) if seeds is None else gains[seeds].mean(axis=-2)
        return np.take_along_axis(np.broadcast_to(by_image, images.shape), images, -1).mean(axis)

    interval = bootstrap(
        samples if num_seeds > 1 else samples[:1],
        statistic,
        n_resamples=NUM_RESAMPLES,
        batch=max(1, 2_000_000 // gains.size),
        vectorized=True,
        confidence_level=_SHARE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Interval(difference, float(interval.low), float(interval.high), num_differing)
