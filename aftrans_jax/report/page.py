"""The page that a run leaves: one self-contained HTML file."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from aftrans_jax.report.drawing import FRAME
from aftrans_jax.report.gallery import gallery
from aftrans_jax.report.html import percent, write_page
from aftrans_jax.report.pictures import Number, Picture
from aftrans_jax.report.plots import Records
from aftrans_jax.report.shown_images import Chosen
from aftrans_jax.report.statistics import SplitPredictions
from aftrans_jax.report.summary import Baseline, summary
from aftrans_jax.report.training import training_charts


class PageContents(NamedTuple):
    """The contents of the page.

    Attributes:
      title: title of the page.
      predictions: predictions on the test split.
      baseline: a plain ViT to compare with, None where there is none.
      no_baseline: text shown where there is none, "" for no text.
      top5: share of the images whose class is among the five likeliest, by head; empty where there
        are no more than 5 classes.
      facts: further figures by name; those named area or share are fractions, times
        seconds. None and NaN are left out.
      history: records with "step" by split: "train" and the split evaluated during training.
      gates: gates of each layer, in [0, 1]; None for a model without.
      chosen: test images to show.
      pictures: images to show, by row of `predictions`.
      changed: key, default and value of each setting that is not the default.
      versions: versions of packages, by name.
      commands: date and command of each start.
    """

    title: str
    predictions: SplitPredictions
    baseline: Baseline | None
    no_baseline: str
    top5: Mapping[str, float]
    facts: Mapping[str, str | Number | None]
    history: Mapping[str, Records]
    gates: Float[np.ndarray, "images layers"] | None
    chosen: Chosen
    pictures: Mapping[int, Picture]
    changed: Sequence[tuple[str, str, str]]
    versions: Mapping[str, str]
    commands: Sequence[str]


class Fact(NamedTuple):
    """One figure, as text."""

    name: str
    text: str
    is_words: bool  # text, not a number: shown smaller


def write_report(path: Path, report: PageContents) -> None:
    """Writes the page, complete or not at all; it opens from disk and needs no network.

    Photos and charts are part of the file, so that it can be shared as it is.

    Raises:
      ValueError: An image is not uint8 [height width 3].
    """
    write_page(
        path,
        "report.html",
        **report._asdict(),
        summary=summary(report.predictions, report.baseline),
        gallery=gallery(report.predictions, report.chosen, report.pictures),
        figures=[
            _fact(name, value)
            for name, value in report.facts.items()
            if value is not None and not (isinstance(value, float) and math.isnan(value))
        ],
        charts=training_charts(report.history, report.gates, report.predictions.reported),
        frame=FRAME,
    )


def _fact(name: str, value: str | Number) -> Fact:
    """Returns a figure as text: fractions as percent, long times in minutes."""
    if not isinstance(value, Number):
        return Fact(name, str(value), is_words=True)
    if 0 <= value <= 1 and any(word in name.lower() for word in ("area", "share")):
        text = percent(float(value))
    elif "time" in name.lower().split() and 0 <= value < math.inf:
        text = _duration(float(value))
    else:
        whole = isinstance(value, int | np.integer) or 1000 <= abs(value) < 1e9
        text = f"{value:,.0f}" if whole else f"{value:.3g}"
    return Fact(name, text, is_words=False)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    if minutes >= 10:
        return f"{round(seconds / 60)} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.3g} s"
