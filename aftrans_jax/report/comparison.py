"""The page of a study or a comparison: its table, plots, boxes, and disagreements."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from aftrans_jax.report.drawing import FRAME, Plot
from aftrans_jax.report.gallery import PredictedClass
from aftrans_jax.report.html import write_page
from aftrans_jax.report.photos import EncodedPhoto, Rectangle


class Disagreement(NamedTuple):
    """A test image on which two settings disagree.

    `predictions` are pairs of text: "true" and its class, then each setting and what it predicts.
    """

    name: str
    photo: EncodedPhoto
    predictions: Sequence[tuple[str, str]]


class DisagreementGroup(NamedTuple):
    """Images on which two settings disagree in the same way."""

    title: str
    cards: Sequence[Disagreement]


class SettingPrediction(NamedTuple):
    """The box and the predictions of one setting for an image.

    Attributes:
      series: number of its first row in the table, for its colour.
      setting: name of the setting.
      box: region that its local branch reads, None where there is none or it is not known.
      predictions: predictions of each of its logits.
    """

    series: int
    setting: str
    box: Rectangle | None
    predictions: Sequence[PredictedClass]


class ComparedImage(NamedTuple):
    """A test image, its class and annotated box, and the box and predictions of each setting."""

    name: str
    true: str
    photo: EncodedPhoto
    annotated: Rectangle | None
    rows: Sequence[SettingPrediction]


class Comparison(NamedTuple):
    """The contents of the page, as text and numbers that are ready to be drawn.

    Attributes:
      title: title of the page.
      header: titles of the table's columns.
      rows: cells of the table, by row.
      notes: explanation of the figures.
      series: names of the rows, whose numbers give them their colours.
      plots: plots in their order.
      compared_images: the same test images for every setting; none: the page has no such section.
      groups: groups of images on which settings disagree.
      no_pictures: text shown where there are no groups.
      command: command that made the page.
      changed: rows of a second table, of the settings that differ: only its header where none do;
        none: no such table.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: str
    series: Sequence[str]
    plots: Sequence[Plot]
    compared_images: Sequence[ComparedImage]
    groups: Sequence[DisagreementGroup]
    no_pictures: str
    command: str
    changed: Sequence[Sequence[str]] = ()


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Writes the page, complete or not at all; it opens from disk and needs no network."""
    photos = {card.name: card.photo for group in comparison.groups for card in group.cards}
    places = {name: place for place, name in enumerate(photos)}
    values = {"photos": photos.values(), "places": places, "frame": FRAME}
    write_page(path, "comparison.html", **comparison._asdict(), **values)
