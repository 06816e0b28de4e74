"""The test images of a page: a photo and a card of each, and the groups that show them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from aftrans_jax.report.answers import Answers
from aftrans_jax.report.photos import Rectangle, Shown, rectangle, shown
from aftrans_jax.report.pictures import Picture
from aftrans_jax.report.shown_images import Chosen


class Said(NamedTuple):
    """The prediction of one head for an image."""

    head: str
    named: str
    confidence: str
    is_right: bool


class Card(NamedTuple):
    """A test image on the page, with its class and predictions.

    `row` identifies it within the page; the first of `said` is the reported head's prediction.
    """

    row: int
    name: str
    photo: Shown
    box: Rectangle | None
    annotated: Rectangle | None
    true: str
    said: Sequence[Said]

    @property
    def is_right(self) -> bool:
        """Whether the reported head classifies it correctly."""
        return self.said[0].is_right


class PairCards(NamedTuple):
    """Two confused classes, how often, and captioned cards with an image of each."""

    true: str
    named: str
    times: int
    total: int
    cards: Sequence[tuple[str, Card]]


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

    cards: Sequence[Card]
    mistakes: Sequence[Card]
    classes: Sequence[Card]
    others: Sequence[Card]
    pairs: Sequence[PairCards]
    only: Mapping[str, Sequence[Card]]
    num_classes: int
    drawn: frozenset[str]


def gallery(answers: Answers, chosen: Chosen, pictures: Mapping[int, Picture]) -> Gallery:
    """Returns the images of a page.

    Args:
      answers: predictions on the full split.
      chosen: rows of the images to show.
      pictures: images by chosen row.

    Raises:
      ValueError: an image is not uint8 [height width 3].
    """
    rows = chosen.rows()
    photos = shown([pictures[row] for row in rows])
    cards = {
        row: _card(row, answers, pictures[row], photo)
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
        pairs=_pairs(answers, chosen, cards),
        only={head: [cards[row] for row in found] for head, found in chosen.only.items()},
        num_classes=len(np.unique(answers.labels[rows])),
        drawn=frozenset(name for name, is_drawn in drawn.items() if is_drawn),
    )


def _card(row: int, answers: Answers, picture: Picture, photo: Shown) -> Card:
    said = []
    for head in answers.heads():
        sure, named = float(answers.confidence[head][row]), int(answers.predicted[head][row])
        confidence = f"{100 * sure:.0f} %" if np.isfinite(sure) else "–"  # noqa: RUF001
        is_right = named == answers.labels[row]
        said.append(Said(head, answers.class_names[named], confidence, bool(is_right)))
    box, annotated = (
        None if box is None else rectangle(box, picture.image, photo)
        for box in (picture.box, picture.annotated_box)
    )
    true = answers.class_names[int(answers.labels[row])]
    return Card(row, picture.name, photo, box, annotated, true, said)


def _pairs(answers: Answers, chosen: Chosen, cards: Mapping[int, Card]) -> list[PairCards]:
    found, names = [], answers.class_names
    for pair, *rows in chosen.pairs:
        true, named = names[pair.true], names[pair.named]
        captions = ("a mistake", true, named)
        listed = [
            (said, cards[row]) for said, row in zip(captions, rows, strict=True) if row is not None
        ]
        found.append(PairCards(true, named, pair.times, pair.total, listed))
    return found
