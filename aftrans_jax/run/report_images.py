"""The test images in a run's report: which ones, the model's boxes on them, and the photos."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from aftrans_jax.data.examples import Dataset, Example, at_size
from aftrans_jax.data.loading.transforms import seen_part
from aftrans_jax.experiment.build import Experiment
from aftrans_jax.experiment.model import predicting_head
from aftrans_jax.report.photos import SIDES_PX
from aftrans_jax.report.pictures import Box, Picture, Pixels
from aftrans_jax.report.shown_images import Chosen, choose
from aftrans_jax.report.statistics import SplitPredictions
from aftrans_jax.training.evaluation import Evaluation
from aftrans_jax.training.state import TrainState


class ShownImages(NamedTuple):
    """The test images that the report shows, with the model's outputs for them.

    Attributes:
      predictions: predictions on the full split.
      chosen: rows of the images to show.
      relevance: relevance of the chosen rows in ascending order; None for a model without regions.
    """

    predictions: SplitPredictions
    chosen: Chosen
    relevance: Float[np.ndarray, "images rows cols"] | None


def shown_images(experiment: Experiment, state: TrainState, evaluation: Evaluation) -> ShownImages:
    """Returns the images to show, after a second forward pass; every process takes part.

    Which images to show is known once all are scored. Keeping all images until then would take the
    memory of the split; a second pass takes only as many batches as the chosen ones fill.
    """
    outcomes = evaluation.outcomes
    config = experiment.config
    predictions = SplitPredictions(
        labels=outcomes["label"],
        predicted=outcomes["predicted"],
        confidence=outcomes["confidence"],
        reported=predicting_head(config),
        class_names=experiment.dataset.class_names,
    )
    chosen = choose(predictions, config.report.num_images)
    indices = outcomes["index"][chosen.rows()].tolist()
    relevance = experiment.evaluator.relevance(state, indices) if indices else None
    return ShownImages(predictions, chosen, relevance)


def pictures(
    shown: ShownImages, dataset: Dataset, evaluation: Evaluation, sizes: Mapping[str, int]
) -> dict[int, Picture]:
    """Returns each chosen image by its row, in its own shape, with boxes in its pixels.

    Args:
      shown: images to show.
      dataset: data set whose test split was evaluated.
      evaluation: evaluation of the split.
      sizes: see `experiment.data.image_sizes`.

    Raises:
      ValueError, OSError: an image cannot be read again.
    """
    test = dataset.test
    photos = at_size(test, None)  # photos as they are, not the squares that training decodes
    outcomes = evaluation.outcomes
    found = {}
    for number, row in enumerate(shown.chosen.rows()):
        index = int(outcomes["index"][row])
        image, annotated = seen(photos[index], sizes, SIDES_PX[0])
        found[row] = Picture(
            name=test.names[index],
            image=image,
            box=_on(image, outcomes["box"][row] / sizes["image_size"])
            if "box" in outcomes
            else None,
            relevance=None if shown.relevance is None else shown.relevance[number],
            annotated_box=None if np.isnan(annotated).any() else _on(image, annotated),
        )
    return found


def seen(
    example: Example, sizes: Mapping[str, int], longest: int
) -> tuple[Pixels, Float[np.ndarray, "4"]]:
    """Returns the part of a photo that the model is given, and the annotated box on it.

    Args:
      example: example with all pixels, in its own shape.
      sizes: see `experiment.data.image_sizes`.
      longest: longest side in px; larger parts are shrunk to it.

    Returns:
      The pixels; the box as fractions of their height and width, NaN where none is annotated.
    """
    kept = sizes["image_size"] / sizes["resize_size"]
    height, width, _ = example.image.shape
    offsets = np.array([height, width, height, width]) * (1 - kept) / 2
    extent = np.array([height, width, height, width]) * kept
    part = seen_part(example.image, sizes, longest)
    return part, np.clip((example.box - offsets) / extent, 0, 1)


def _on(image: np.ndarray, shares: Float[np.ndarray, "4"]) -> Box:
    height, width, _ = image.shape
    top, left, bottom, right = (shares * [height, width, height, width]).tolist()
    return top, left, bottom, right
