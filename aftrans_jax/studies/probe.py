"""Linear probes: how well a frozen model's class tokens separate the classes before training."""

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from scipy.special import softmax

from aftrans_jax.config import Config
from aftrans_jax.data.examples import Dataset
from aftrans_jax.model.heads import SUM
from aftrans_jax.studies.features import SplitFeatures, frozen_features
from aftrans_jax.training.metrics import box_area

# For scikit-learn's logistic regression: the inverse of the penalty. A few hundred photos can be
# separated perfectly in hundreds of standardised features, so only a strong penalty generalises.
# Fixed for every set and row, so that nothing is chosen on a test split.
INVERSE_PENALTY = 0.02
_MAX_ITERATIONS = 5000  # some hundred are needed


class Probe(NamedTuple):
    """The predictions of a probe for each test image, and its accuracies.

    Attributes:
      accuracies: accuracy by name of the logits: "global" and, with a local branch, "local", "sum".
      outcomes: outcome of each test image, as in `training.evaluation.Evaluation`.
      dataset: the data set.
      area: mean share of a test image that its region covers; None without regions.
      num_train: number of training images.
      notes: notes for the user, one line each.
    """

    accuracies: dict[str, float]
    outcomes: dict[str, Any]
    dataset: Dataset
    area: float | None
    num_train: int
    notes: tuple[str, ...]


def probe(config: Config) -> Probe:
    """Returns the predictions of logistic regressions on a frozen model's class tokens.

    Each branch's features are standardised and have a classifier of their own, fitted on the
    training split; "sum" adds up both classifiers' logits.

    Args:
      config: configuration of the model and the data; training settings are not read.

    Raises:
      RuntimeError: scikit-learn is not installed.
      ValueError, FileNotFoundError: as `features.frozen_features`; or a regression has not
        converged.
    """
    new_classifier()  # fails before the features are computed, which takes minutes
    features = frozen_features(config)
    logits, classes = _logits(features)
    labels = features.test.labels
    predicted = {head: classes[values.argmax(axis=1)] for head, values in logits.items()}
    boxes = jnp.asarray(features.test.boxes) if "local" in logits else None
    return Probe(
        {head: float((named == labels).mean()) for head, named in predicted.items()},
        {
            "index": features.test.positions,
            "label": labels,
            "predicted": predicted,
            "confidence": {head: softmax(x, axis=1).max(axis=1) for head, x in logits.items()},
            "box": boxes,
        },
        features.dataset,
        None if boxes is None else float(box_area(boxes).mean() / config.data.source_size**2),
        len(features.train.labels),
        features.notes,
    )


def new_classifier() -> Any:
    """Returns scikit-learn's standardisation and logistic regression, not yet fitted.

    Raises:
      RuntimeError: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise RuntimeError(
            f"a probe needs scikit-learn ({error}): pip install scikit-learn"
        ) from error
    regression = LogisticRegression(C=INVERSE_PENALTY, max_iter=_MAX_ITERATIONS)
    return make_pipeline(StandardScaler(), regression)


def _logits(
    features: SplitFeatures,
) -> tuple[
    Mapping[str, Float[np.ndarray, "images classes"]],
    Int[np.ndarray, " classes"],
]:
    """Returns the logits of the test images by head, and the class of each column.

    Raises:
      ValueError: a regression has not converged.
    """
    from sklearn.exceptions import ConvergenceWarning

    labels = features.train.labels
    logits: dict[str, np.ndarray] = {}
    for branch, tokens in features.train.branches.items():
        classifier = new_classifier()
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            try:
                classifier.fit(tokens.astype(np.float64), labels)
            except ConvergenceWarning as warning:
                raise ValueError(f"{branch} class tokens: {warning}") from warning
        values = classifier.decision_function(features.test.branches[branch].astype(np.float64))
        # For two classes scikit-learn returns only the difference of the logits.
        logits[branch] = values if values.ndim == 2 else np.stack([-values, values], axis=1) / 2
    if len(logits) > 1:
        logits[SUM] = np.sum(list(logits.values()), axis=0)
    return logits, np.unique(labels)
