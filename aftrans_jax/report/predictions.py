"""The page of `predict`: what was said of each photo, and where the model looked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from aftrans_jax.report.html import write_page
from aftrans_jax.report.pictures import (
    SHOWN_PX,
    Number,
    Panel,
    Picture,
    panels,
    plain_panel,
)

MAX_CARDS = 200  # photos on a page: it lies in one file, of about 0.1 MB a photo
MAX_FAILURES = 20  # names of photos that could not be read

Pixels = UInt8[np.ndarray, "height width 3"]
Answer = tuple[str, float]  # class and probability


class PredictionCard(NamedTuple):
    """One photo of the page."""

    name: str
    panels: list[Panel]
    top: list[tuple[str, str, float]]  # class, probability as text and as a number
    heads: list[tuple[str, str, str]]  # head, class, probability


class Sight(NamedTuple):
    """What the model saw of a photo, in any proportion, and what it read of it closer.

    image: square, as the model took it.
    height, width: of that part of the photo, in pixels.
    box: the region (top, left, bottom, right), as shares of height and width; None without one.
    relevance: of the patches, None without.
    crop: the region as the local branch read it, square.
    """

    image: Pixels
    height: int
    width: int
    box: tuple[float, float, float, float] | None
    relevance: Float[np.ndarray, "rows cols"] | None
    crop: Pixels | None


def prediction_card(
    name: str, sight: Sight, *, top: Sequence[Answer], heads: Mapping[str, Answer]
) -> PredictionCard:
    """Returns a photo as the page shows it: photo, heat map and crop in their own proportions.

    Args:
      name: of the photo.
      sight: what the model saw.
      top: the likeliest classes, by the head that answers.
      heads: the answer of each head.
    """
    image, box = _in_proportion(sight.image, sight.height, sight.width), None
    rows, cols = image.shape[:2]
    if sight.box is not None:
        top_edge, left, bottom, right = sight.box
        box = (top_edge * rows, left * cols, bottom * rows, right * cols)
    picture = Picture(name, image, box, sight.relevance)
    found = panels(picture)[: 1 + (sight.relevance is not None)]
    if box is not None and sight.crop is not None:
        crop = _in_proportion(sight.crop, box[2] - box[0], box[3] - box[1])
        found.append(plain_panel(crop)._replace(caption="what the local branch sees"))
    return PredictionCard(
        name,
        found,
        [(label, f"{share:.1%}", share) for label, share in top],
        [(head, label, f"{share:.1%}") for head, (label, share) in heads.items()],
    )


def write_prediction_page(
    path: Path,
    *,
    title: str,
    heading: str,
    cards: Sequence[PredictionCard],
    num_left_out: int,
    has_table: bool,
    failures: Sequence[tuple[str, str]],
    num_failures: int,
) -> None:
    """Writes the page, whole or not at all; it opens from disk and needs no network.

    Args:
      path: of the file; its folder is made where it is missing.
      title: of the page.
      heading: which head answers, and how right it was.
      cards: photos, at most `MAX_CARDS`, shown in this order.
      num_left_out: how many further photos were named.
      has_table: whether a table of all was written too.
      failures: name of photos that could not be read, and why.
      num_failures: how many there were in all.
    """
    write_page(
        path,
        "predictions.html",
        title=title,
        heading=heading,
        cards=cards,
        num_left_out=num_left_out,
        has_table=has_table,
        failures=failures,
        num_failures=num_failures,
        has_box=any(len(card.panels) > 1 for card in cards),
    )


def _in_proportion(
    image: Pixels, height: Number, width: Number
) -> UInt8[np.ndarray, "rows cols 3"]:
    """Returns an image in the proportion of a height and width, its longer side as pages show it.

    Not larger than it is, for `pictures.panels` enlarges small ones by whole pixels.
    """
    longest = min(SHOWN_PX, max(image.shape[:2]))
    scale = longest / max(height, width)
    rows, cols = (max(1, round(scale * side)) for side in (height, width))
    return np.asarray(Image.fromarray(image).resize((cols, rows), Image.Resampling.BILINEAR))
