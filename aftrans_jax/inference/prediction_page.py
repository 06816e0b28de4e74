"""The page of predictions, whose contents are collected while photos are read."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from aftrans_jax.inference.prediction import Prediction
from aftrans_jax.inference.preprocessing import why_unread
from aftrans_jax.report.html import write_page
from aftrans_jax.report.photos import EncodedPhoto, Rectangle, encoded_photo, rectangle
from aftrans_jax.report.pictures import Picture
from aftrans_jax.wording import printable

MAX_CARDS = 200  # photos on a page: it is one file, of about 0.04 MB a photo
MAX_FAILURES = 20  # names of photos that could not be read
PHOTO_PX = 448  # longer side of the photos


class PhotoCard(NamedTuple):
    """A photo on the page with its box and predictions; `row` identifies it within the page."""

    row: int
    name: str
    photo: EncodedPhoto
    box: Rectangle | None
    top: Sequence[tuple[str, str, float]]  # class, probability as text and as a number
    heads: Sequence[tuple[str, str, str]]  # head, class, probability


class PredictionPage:
    """A page of the first `MAX_CARDS` photos that are added, with the number of the others.

    The limit keeps the file small enough for browsers, and memory from growing with the photos.
    """

    def __init__(self, *, top: int) -> None:
        """Takes the number of most likely classes to show."""
        self._top = top
        self._cards: list[PhotoCard] = []
        self._failures: list[tuple[str, str]] = []
        self._num_named = self._num_failed = 0

    def add(
        self,
        path: str,
        prediction: Prediction | Exception,
        image: UInt8[np.ndarray, "size size 3"] | None,
    ) -> None:
        """Adds a photo, or why it could not be read.

        Args:
          path: path of the photo.
          prediction: its prediction, or the error.
          image: image as the model took it, None where it could not be read.
        """
        if isinstance(prediction, Exception):
            self._num_failed += 1
            if len(self._failures) < MAX_FAILURES:
                self._failures.append((printable(path), printable(why_unread(path, prediction))))
            return
        assert image is not None
        self._num_named += 1
        if len(self._cards) < MAX_CARDS:
            card = _card(len(self._cards), printable(path), prediction, image, top=self._top)
            self._cards.append(card)

    def write(self, path: Path, heading: str, *, has_table: bool) -> None:
        """Writes the page, complete or not at all; it opens from disk and needs no network.

        Args:
          path: path of the HTML file; its folder is made where it is missing.
          heading: which head predicts, and its accuracy.
          has_table: whether a table of all photos is written too.
        """
        write_page(
            path,
            "predictions.html",
            title=f"{self._num_named:,} photo{'s' * (self._num_named != 1)} named",
            heading=heading,
            cards=self._cards,
            num_left_out=self._num_named - len(self._cards),
            has_table=has_table,
            failures=self._failures,
            num_failures=self._num_failed,
            has_box=any(card.box for card in self._cards),
        )


def _card(
    row: int,
    name: str,
    prediction: Prediction,
    image: UInt8[np.ndarray, "size size 3"],
    *,
    top: int,
) -> PhotoCard:
    """Returns the card of a photo, with its image in the photo's proportions."""
    upper, left, lower, right = prediction.seen
    height = lower - upper
    width = right - left
    box = None
    scale = min(PHOTO_PX, len(image)) / max(height, width)
    size = max(1, round(scale * width)), max(1, round(scale * height))
    pixels = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    photo = encoded_photo(Picture(name, pixels, relevance=prediction.relevance), PHOTO_PX)
    if prediction.box is not None:
        edges = scale * np.subtract(prediction.box, (upper, left, upper, left))
        box = rectangle(tuple(edges.tolist()), pixels, photo)
    answers = prediction.answers.items()
    return PhotoCard(
        row=row,
        name=name,
        photo=photo,
        box=box,
        top=[
            (label, f"{probability:.1%}", probability) for label, probability in prediction.top(top)
        ],
        heads=[(head, label, f"{probability:.1%}") for head, (label, probability) in answers],
    )
