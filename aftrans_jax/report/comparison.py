"""The page of a study or a comparison: its table, plots, boxes, and where settings disagree."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from aftrans_jax.report.drawing import FRAME, Plot
from aftrans_jax.report.html import write_page
from aftrans_jax.report.photos import Rectangle
from aftrans_jax.report.pictures import Panel


class Disagreement(NamedTuple):
    """One test image: its name, the image, and what is said of it, as pairs of who and what."""

    name: str
    panel: Panel
    said: Sequence[tuple[str, str]]


class Group(NamedTuple):
    """Images on which two settings disagree in the same way."""

    title: str
    cards: Sequence[Disagreement]


class Answer(NamedTuple):
    """What one kind of logits answers, and whether that is right."""

    head: str
    answer: str
    is_right: bool


class Look(NamedTuple):
    """What one setting sees and says of an image.

    Attributes:
      series: number of its first line, for its colour.
      row: its name.
      box: that its local branch reads, None where it has none or it is not known.
      answers: by each of its logits.
    """

    series: int
    row: str
    box: Rectangle | None
    answers: Sequence[Answer]


class Sight(NamedTuple):
    """A test image, its class and annotated box, and what each setting makes of it."""

    name: str
    true: str
    panel: Panel
    annotated: Rectangle | None
    looks: Sequence[Look]


class Comparison(NamedTuple):
    """What the page shows, as text and numbers that are ready to be drawn.

    Attributes:
      title: of the page.
      header: names of the table's columns.
      rows: its cells.
      notes: what its figures are.
      series: names of the lines, whose numbers give them their colours.
      plots: in their order.
      sights: the same test images through every setting; none: no such part.
      groups: of images.
      no_pictures: said where there are no groups.
      command: that made the page.
      changed: rows of a second table, of the settings that differ: its header alone where none
        do; none: no such table.
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
    """Writes the page, whole or not at all; it opens from disk and needs no network."""
    photos = {card.name: card.panel for group in comparison.groups for card in group.cards}
    places = {name: place for place, name in enumerate(photos)}
    shown = {"photos": photos.values(), "places": places, "frame": FRAME}
    write_page(path, "comparison.html", **comparison._asdict(), **shown)
