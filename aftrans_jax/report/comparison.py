"""The page of a study or a comparison: its table, plots, boxes, and disagreements."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from aftrans_jax.report.drawing import FRAME, Plot
from aftrans_jax.report.html import write_page
from aftrans_jax.report.photos import Rectangle
from aftrans_jax.report.pictures import Panel


class Disagreement(NamedTuple):
    """A test image: its name, the image, its class and predictions as pairs of label and text."""

    name: str
    panel: Panel
    said: Sequence[tuple[str, str]]


class Group(NamedTuple):
    """Images on which two settings disagree in the same way."""

    title: str
    cards: Sequence[Disagreement]


class Answer(NamedTuple):
    """The prediction of one kind of logits, and whether it is right."""

    head: str
    answer: str
    is_right: bool


class Look(NamedTuple):
    """The box and the predictions of one setting for an image.

    Attributes:
      series: number of its first line, for its colour.
      row: name of the setting.
      box: region that its local branch reads, None where there is none or it is not known.
      answers: predictions of each of its logits.
    """

    series: int
    row: str
    box: Rectangle | None
    answers: Sequence[Answer]


class Sight(NamedTuple):
    """A test image, its class and annotated box, and the box and predictions of each setting."""

    name: str
    true: str
    panel: Panel
    annotated: Rectangle | None
    looks: Sequence[Look]


class Comparison(NamedTuple):
    """The contents of the page, as text and numbers that are ready to be drawn.

    Attributes:
      title: title of the page.
      header: titles of the table's columns.
      rows: cells of the table, by row.
      notes: explanation of the figures.
      series: names of the lines, whose numbers give them their colours.
      plots: plots in their order.
      sights: the same test images for every setting; none: the page has no such section.
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
    sights: Sequence[Sight]
    groups: Sequence[Group]
    no_pictures: str
    command: str
    changed: Sequence[Sequence[str]] = ()


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Writes the page, complete or not at all; it opens from disk and needs no network."""
    photos = {card.name: card.panel for group in comparison.groups for card in group.cards}
    places = {name: place for place, name in enumerate(photos)}
    shown = {"photos": photos.values(), "places": places, "frame": FRAME}
    write_page(path, "comparison.html", **comparison._asdict(), **shown)
