"""The test images of a page: a photo and a card of each, and the groups that show them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from aftrans_jax.report.photos import EncodedPhoto, Rectangle, encoded_photos, rectangle
from aftrans_jax.report.pictures import Picture
from aftrans_jax.report.shown_images import Chosen
from aftrans_jax.report.statistics import SplitPredictions


class PredictedClass(NamedTuple):
    """The class that one head predicts for an image, whether it is right, and its probability.

    `confidence` is text, "" where a page does not show it.
    """

    head: str
    name: str
    is_right: bool
    confidence: str = ""


class ImageCard(NamedTuple):
    """A test image on the page of a run, with its class and predictions.

    `row` identifies it within the page; the reported head's prediction is the first.
    """

    row: int
    name: str
    photo: EncodedPhoto
    box: Rectangle | None
    annotated: Rectangle | None
    true: str
    predictions: Sequence[PredictedClass]

    @property
    def is_right(self) -> bool:
        """Whether the reported head classifies it correctly."""
        return self.predictions[0].is_right


class PairCards(NamedTuple):
    """Two confused classes, how often, and captioned cards with an image of each."""

    true: str
    predicted: str
    times: int
    total: int
    cards: Sequence[tuple[str, ImageCard]]


class Gallery(NamedTuple):
    """The images of a page.

    Attributes:
      cards: cards of all images.
      mistakes: the worst mistakes.
      classes: further images, which show the classes.
      others: images that only appear with the pairs and heads below.
      pairs: the most frequently confused classes.
      only: images that only one of two heads classifies correctly, by that head.
      num_classes: number of classes of all images.
      drawn: entries of the legend: "box", "annotated", "heat".
    """

    cards: Sequence[ImageCard]
    mistakes: Sequence[ImageCard]
    classes: Sequence[ImageCard]
    others: Sequence[ImageCard]
    pairs: Sequence[PairCards]
    only: Mapping[str, Sequence[ImageCard]]
    num_classes: int
    drawn: frozenset[str]


def gallery(
    predictions: SplitPredictions, chosen: Chosen, pictures: Mapping[int, Picture]
) -> Gallery:
    """Returns the images of a page.

    Args:
      predictions: predictions on the full split.
      chosen: rows of the images to show.
      pictures: images by chosen row.

    Raises:
      ValueError: an image is not uint8 [height width 3].
    """
    rows = chosen.rows()
    photos = encoded_photos([pictures[row] for row in rows])
    cards = {
        row: _card(row, predictions, pictures[row], photo)
        for row, photo in zip(rows, photos, strict=True)
    }
    classes = [row for row in chosen.classes if row not in chosen.mistakes]
    main = {*chosen.mistakes, *classes}
    every = [*cards.values()]
    drawn = {
        "box": any(card.box for card in every),
        "annotated": any(card.annotated for card in every),
        "heat": any(card.photo.heat for card in every),
    }
    return Gallery(
        cards=every,
        mistakes=[cards[row] for row in chosen.mistakes],
        classes=[cards[row] for row in classes],
        others=[card for row, card in cards.items() if row not in main],
        pairs=_pairs(predictions, chosen, cards),
        only={head: [cards[row] for row in rows] for head, rows in chosen.only.items()},
        num_classes=len(np.unique(predictions.labels[rows])),
        drawn=frozenset(name for name, is_drawn in drawn.items() if is_drawn),
    )


def _card(
    row: int, predictions: SplitPredictions, picture: Picture, photo: EncodedPhoto
) -> ImageCard:
    classes = []
    for head in predictions.heads():
        sure = float(predictions.confidence[head][row])
        label = int(predictions.predicted[head][row])
        confidence = f"{100 * sure:.0f} %" if np.isfinite(sure) else "–"  # noqa: RUF001
        is_right = label == predictions.labels[row]
        name = predictions.class_names[label]
        classes.append(PredictedClass(head, name, bool(is_right), confidence))
    box, annotated = (
        None if box is None else rectangle(box, picture.image, photo)
        for box in (picture.box, picture.annotated_box)
    )
    true = predictions.class_names[int(predictions.labels[row])]
    return ImageCard(row, picture.name, photo, box, annotated, true, classes)


def _pairs(
    predictions: SplitPredictions, chosen: Chosen, cards: Mapping[int, ImageCard]
) -> list[PairCards]:
    pairs = []
    names = predictions.class_names
    for pair, *rows in chosen.pairs:
        true = names[pair.true]
        predicted = names[pair.predicted]
        captions = ("a mistake", true, predicted)
        captioned = [
            (caption, cards[row])
            for caption, row in zip(captions, rows, strict=True)
            if row is not None
        ]
        pairs.append(PairCards(true, predicted, pair.times, pair.total, captioned))
    return pairs
