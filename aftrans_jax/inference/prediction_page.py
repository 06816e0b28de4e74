"""Collects what the page of predictions shows, while photos are read."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from aftrans_jax.data.loading.names import printable
from aftrans_jax.inference.prediction import Prediction
from aftrans_jax.inference.preprocessing import why_unread
from aftrans_jax.report.html import write_page
from aftrans_jax.report.pictures import Picture
from aftrans_jax.report.predictions import PredictionCard, in_proportion, prediction_card

MAX_CARDS = 200  # photos on a page: it lies in one file, of about 0.1 MB a photo
MAX_FAILURES = 20  # names of photos that could not be read


class PredictionPage:
    """A page of the first `MAX_CARDS` photos that are added, and of how many more there were.

    So browsers open it, and memory does not grow with the photos.
    """

    def __init__(self, *, top: int) -> None:
        """Takes how many of the likeliest classes are shown."""
        self._top = top
        self._cards: list[PredictionCard] = []
        self._failures: list[tuple[str, str]] = []
        self._num_named = self._num_failed = 0

    def add(
        self,
        path: str,
        found: Prediction | Exception,
        image: UInt8[np.ndarray, "size size 3"] | None,
    ) -> None:
        """Adds a photo, or why it could not be read.

        Args:
          path: of the photo.
          found: what was said of it.
          image: as the model took it, None where it could not be read.
        """
        if isinstance(found, Exception):
            self._num_failed += 1
            if len(self._failures) < MAX_FAILURES:
                self._failures.append((printable(path), printable(why_unread(path, found))))
            return
        assert image is not None
        self._num_named += 1
        if len(self._cards) < MAX_CARDS:
            picture, top = _picture(printable(path), found, image), found.top(self._top)
            self._cards.append(prediction_card(picture, found.crop, top=top, heads=found.answers))

    def write(self, path: Path, heading: str, *, has_table: bool) -> None:
        """Writes the page, whole or not at all; it opens from disk and needs no network.

        Args:
          path: of the HTML file; its folder is made where it is missing.
          heading: which head answers, and how right it was.
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
            has_box=any(len(card.panels) > 1 for card in self._cards),
        )


def _picture(name: str, found: Prediction, image: UInt8[np.ndarray, "size size 3"]) -> Picture:
    """Returns what the model saw of a photo, in its proportion."""
    top, left, bottom, right = found.seen
    height, width, box = bottom - top, right - left, None
    shown = in_proportion(image, height, width)
    if found.box is not None:
        rows, cols, _ = shown.shape
        edges = np.subtract(found.box, (top, left, top, left)) / (height, width, height, width)
        box = tuple((edges.clip(0, 1) * (rows, cols, rows, cols)).tolist())
    return Picture(name, shown, box, found.relevance)
