"""Statistics of a model's predictions for the images of a split: intervals, pairs, calibration.

They are computed with numpy; tests compare them with scikit-learn, which a run does not need.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

NUM_BINS = 10  # bins of confidence


class SplitPredictions(NamedTuple):
    """The predictions of each head for all images of a split.

    Attributes:
      labels: class of each image.
      predicted: predicted class of each image, by head.
      confidence: probability of the predicted class, by head.
      reported: head whose predictions the run reports.
      class_names: names of the classes.
    """

    labels: Int[np.ndarray, " images"]
    predicted: Mapping[str, Int[np.ndarray, " images"]]
    confidence: Mapping[str, Float[np.ndarray, " images"]]
    reported: str
    class_names: Sequence[str]

    def correct(self, head: str | None = None) -> Bool[np.ndarray, " images"]:
        """Returns whether a head, by default the reported one, classifies each image correctly."""
        return self.predicted[head or self.reported] == self.labels

    def heads(self) -> list[str]:
        """Returns the heads, the reported one first."""
        return sorted(self.predicted, key=lambda head: (head != self.reported, head))


class Share(NamedTuple):
    """A fraction of images and its 95 % interval, all in [0, 1]; NaN for no images."""

    value: float
    low: float
    high: float
    hits: int
    total: int


class ClassScore(NamedTuple):
    """A class, its accuracy, and the class most often predicted for the images that are wrong."""

    name: str
    share: Share
    taken_for: str  # "" where all are right
    times: int


class Pair(NamedTuple):
    """Images of one class that are predicted as another."""

    true: int
    predicted: int
    times: int
    total: int  # images of the true class


class Calibration(NamedTuple):
    """The agreement of confidence and accuracy, in bins of confidence of equal width.

    Attributes:
      counts: number of images in each bin.
      confidence: mean confidence in each bin, NaN in an empty one.
      accuracy: accuracy in each bin, NaN in an empty one.
      error: expected calibration error: the mean over images of the difference between accuracy
        and mean confidence in their bin.
      mean_confidence: mean confidence over all images.
    """

    counts: Int[np.ndarray, " bins"]
    confidence: Float[np.ndarray, " bins"]
    accuracy: Float[np.ndarray, " bins"]
    error: float
    mean_confidence: float


def share(hits: int, total: int) -> Share:
    """Returns a fraction with its Wilson interval."""
    from scipy.stats import binomtest  # takes half a second to import; other pages do without

    if not total:
        return Share(math.nan, math.nan, math.nan, 0, 0)
    interval = binomtest(hits, total).proportion_ci(method="wilson")
    return Share(hits / total, float(interval.low), float(interval.high), hits, total)


def by_head(predictions: SplitPredictions) -> dict[str, Share]:
    """Returns the accuracy of each head, the reported one first."""
    total = len(predictions.labels)
    return {
        head: share(int(predictions.correct(head).sum()), total) for head in predictions.heads()
    }


def mean_per_class(
    labels: Int[np.ndarray, " images"], predicted: Mapping[str, Int[np.ndarray, " images"]]
) -> dict[str, float]:
    """Returns each head's mean per-class accuracy, NaN for no images.

    This is the mean of the accuracies of all classes that have images.

    Args:
      labels: class of each image.
      predicted: predicted class of each image, by head.
    """
    totals = np.bincount(labels)
    tested = totals > 0
    hits = {head: np.bincount(labels, weights=x == labels) for head, x in predicted.items()}
    if not tested.any():
        return dict.fromkeys(hits, math.nan)
    return {head: float((x[tested] / totals[tested]).mean()) for head, x in hits.items()}


def by_class(predictions: SplitPredictions) -> list[ClassScore]:
    """Returns the score of each class that has images, the least accurate first."""
    correct = predictions.correct()
    labels = predictions.labels
    most_frequent: dict[int, Pair] = {}
    for pair in confused(predictions):
        most_frequent.setdefault(pair.true, pair)
    scores = []
    for label in np.unique(labels).tolist():
        own = labels == label
        pair = most_frequent.get(label)
        name = predictions.class_names[int(label)]
        taken_for = "" if pair is None else predictions.class_names[pair.predicted]
        times = 0 if pair is None else pair.times
        accuracy = share(int(correct[own].sum()), int(own.sum()))
        scores.append(ClassScore(name, accuracy, taken_for, times))
    return sorted(scores, key=lambda score: score.share.value)


def confused(predictions: SplitPredictions) -> list[Pair]:
    """Returns the pairs of classes that are confused, the most frequent first."""
    wrong = ~predictions.correct()
    count = len(predictions.class_names)
    predicted = predictions.predicted[predictions.reported]
    keys, times = np.unique(
        predictions.labels[wrong] * count + predicted[wrong], return_counts=True
    )
    totals = np.bincount(predictions.labels, minlength=count)
    pairs = [
        Pair(key // count, key % count, often, int(totals[key // count]))
        for key, often in zip(keys.tolist(), times.tolist(), strict=True)
    ]
    return sorted(pairs, key=lambda pair: (-pair.times, -pair.times / pair.total))


def confusion(predictions: SplitPredictions) -> Int[np.ndarray, "classes classes"]:
    """Returns how many images of each class (row) are predicted as each class (column)."""
    count = len(predictions.class_names)
    keys = predictions.labels.astype(np.int64) * count + predictions.predicted[predictions.reported]
    return np.bincount(keys, minlength=count**2).reshape(count, count)


def calibration(predictions: SplitPredictions) -> Calibration:
    """Returns the calibration of the reported head, see `Calibration`.

    Confidences that are not finite, as from a model that diverged, are left out.
    """
    sure = predictions.confidence[predictions.reported].astype(np.float64)
    is_finite = np.isfinite(sure)
    sure = sure[is_finite]
    correct = predictions.correct()[is_finite]
    bins = np.minimum((sure * NUM_BINS).astype(int), NUM_BINS - 1)
    counts, confidences, hits = (
        np.bincount(bins, weights=weights, minlength=NUM_BINS) for weights in (None, sure, correct)
    )
    with np.errstate(invalid="ignore"):  # from empty bins
        means = confidences / counts, hits / counts
    error = np.abs(hits - confidences).sum() / max(1, len(sure))
    average = float(sure.mean()) if len(sure) else math.nan
    return Calibration(counts, *means, float(error), average)


def agreement(
    predictions: SplitPredictions, one: str, other: str
) -> dict[tuple[bool, bool], Int[np.ndarray, " rows"]]:
    """Returns the rows of images by whether one head is right and whether another is."""
    pairs = [(True, True), (True, False), (False, True), (False, False)]
    first = predictions.correct(one)
    second = predictions.correct(other)
    return {(a, b): np.flatnonzero((first == a) & (second == b)) for a, b in pairs}
