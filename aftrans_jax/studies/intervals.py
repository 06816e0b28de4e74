"""Means over seeds, and paired differences with a bootstrap interval over images and seeds."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import bootstrap

NUM_RESAMPLES = 4999
LEAST_DIFFERING = 10  # images, for an interval: of fewer it would be too narrow
_SHARE = 0.95


class Interval(NamedTuple):
    """A difference of accuracies and its 95 % interval, all in percentage points.

    Attributes:
      difference: of the accuracies.
      low: lower end of the interval, NaN where it is not known.
      high: upper end, likewise.
      num_differing: images that one setting names right and the other wrong, with any seed.
    """

    difference: float
    low: float
    high: float
    num_differing: int


def mean_and_deviation(values: Float[np.ndarray, " seeds"]) -> tuple[float, float]:
    """Returns the mean and the sample's standard deviation; NaN for that of a single value."""
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def paired_difference(
    ours: Bool[np.ndarray, "seeds images"], base: Bool[np.ndarray, "seeds images"]
) -> Interval:
    """Returns how much more accurate one setting is than another on the same images.

    Images and seeds are drawn anew, each with replacement and independently of the other; both
    settings see the same draw. The interval holds the middle 95 % of the differences (percentile
    bootstrap). A single seed is kept as it is: then the interval is of the images alone. There is
    none where fewer than `LEAST_DIFFERING` images are answered differently: of so few, draws vary
    less than other images would, and of none not at all.

    Args:
      ours: which images are named right, by seed.
      base: the same of the setting to compare with; rows and columns are those of `ours`.
    """
    gains = 100 * (ours.astype(np.float64) - base)
    num_seeds, num_images = gains.shape
    difference, num_differing = float(gains.mean()), int(gains.any(axis=0).sum())
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

    found = bootstrap(
        samples if num_seeds > 1 else samples[:1],
        statistic,
        n_resamples=NUM_RESAMPLES,
        batch=max(1, 2_000_000 // gains.size),
        vectorized=True,
        confidence_level=_SHARE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Interval(difference, float(found.low), float(found.high), num_differing)
