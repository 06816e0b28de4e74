"""A photo on the page of `predict`: what was said of it, and where the model looked."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from aftrans_jax.report.pictures import (
    SHOWN_PX,
    Number,
    Panel,
    Picture,
    Pixels,
    panels,
    plain_panel,
)

Answer = tuple[str, float]  # class and probability


class PredictionCard(NamedTuple):
    """One photo of the page."""

    name: str
    panels: list[Panel]
    top: list[tuple[str, str, float]]  # class, probability as text and as a number
    heads: list[tuple[str, str, str]]  # head, class, probability


def prediction_card(
    picture: Picture, crop: Pixels | None, *, top: Sequence[Answer], heads: Mapping[str, Answer]
) -> PredictionCard:
    """Returns a photo as the page shows it: photo, heat map and crop in their own proportions.

    Args:
      picture: what the model saw of the photo, in its proportion.
      crop: its box as the local branch read it, square; None without.
      top: the likeliest classes, by the head that answers.
      heads: the answer of each head.
    """
    found = panels(picture)
    if picture.box is not None and crop is not None:
        upper, left, lower, right = picture.box
        read = plain_panel(in_proportion(crop, lower - upper, right - left))
        found[-1] = read._replace(caption=found[-1].caption)
    return PredictionCard(
        picture.name,
        found,
        [(label, f"{share:.1%}", share) for label, share in top],
        [(head, label, f"{share:.1%}") for head, (label, share) in heads.items()],
    )


def in_proportion(image: Pixels, height: Number, width: Number) -> UInt8[np.ndarray, "rows cols 3"]:
    """Returns an image in the proportion of a height and width, its longer side as pages show it.

    Not larger than it is, for `pictures.panels` enlarges small ones by whole pixels.
    """
    longest = min(SHOWN_PX, max(image.shape[:2]))
    scale = longest / max(height, width)
    rows, cols = (max(1, round(scale * side)) for side in (height, width))
    return np.asarray(Image.fromarray(image).resize((cols, rows), Image.Resampling.BILINEAR))
