"""The page that a run leaves behind: one HTML file that needs nothing else."""

import base64
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2
import numpy as np
from jaxtyping import Float

from aftrans_jax.report.charts import FRAME, charts
from aftrans_jax.report.pictures import (
    ANNOTATED,
    MAGMA,
    PREDICTED,
    Number,
    Panel,
    Picture,
    panels,
)

DRAWN = ("box", "annotated_box", "relevance")  # what the legend explains, where a picture has it


class Fact(NamedTuple):
    """One figure of the summary, as text."""

    name: str
    text: str
    is_words: bool  # not a number: set smaller


class Card(NamedTuple):
    """One test image: what is shown of it, what it shows and what it was named."""

    name: str
    panels: list[Panel]
    predicted_class: str
    confidence: str
    true_class: str
    is_right: bool


def write_report(
    path: Path,
    *,
    title: str,
    pictures: Sequence[Picture],
    gates: Float[np.ndarray, "images layers"] | None,
    summary: Mapping[str, str | Number | None],
    history: Sequence[Mapping[str, Number]],
) -> None:
    """Writes the page, whole or not at all; it opens from disk and needs no network.

    Pictures and charts lie in the page itself, so that it can be sent on as it is.

    Args:
      path: of the file; its folder is made where it is missing.
      title: of the page.
      pictures: test images, shown in this order.
      gates: each layer's, in [0, 1]; None for a model without.
      summary: figures by name; those named accuracy, area or share are fractions, seconds times.
      history: training records that hold "step" and perhaps "loss" and "accuracy".

    Raises:
      ValueError: An image is not uint8 [height width 3], or a box is not finite.
    """
    cards = [_card(picture) for picture in pictures]
    page = page_template("report.html").render(
        title=title,
        facts=[_fact(name, value) for name, value in summary.items()],
        charts=charts(history, gates),
        frame=FRAME,
        cards=cards,
        num_right=sum(card.is_right for card in cards),
        drawn={key for key in DRAWN if any(getattr(p, key) is not None for p in pictures)},
        colors={"predicted": PREDICTED, "annotated": ANNOTATED, "relevance": MAGMA},
    )
    write_page(path, page)


def write_page(path: Path, page: str) -> None:
    """Writes a page, whole or not at all; its folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    # A file name that is not UTF-8 reaches Python with surrogates, which UTF-8 refuses.
    partial.write_bytes(page.encode(errors="backslashreplace"))
    partial.replace(path)


def page_template(name: str) -> jinja2.Template:
    """Returns a template of a page, which escapes every value and refuses missing ones."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("aftrans_jax.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode()
    return environment.get_template(name)


def _card(picture: Picture) -> Card:
    return Card(
        name=picture.name,
        panels=panels(picture),
        predicted_class=picture.predicted_class,
        confidence=f"{picture.confidence:.0%}",
        true_class=picture.true_class,
        is_right=picture.predicted_class == picture.true_class,
    )


def _fact(key: str, value: str | Number | None) -> Fact:
    """Returns a figure for readers: fractions as percent, long times in minutes."""
    name = key.replace("_", " ")
    if value is None:
        return Fact(name, "\N{EN DASH}", is_words=False)
    if not isinstance(value, Number):
        return Fact(name, str(value), is_words=True)
    if 0 <= value <= 1 and any(word in key.lower() for word in ("accuracy", "area", "share")):
        text = f"{value:.1%}"
    elif "seconds" in key.lower() and 60 <= value < math.inf:
        text = "{} min {} s".format(*divmod(round(value), 60))
    else:
        whole = isinstance(value, int | np.integer) or 1000 <= abs(value) < 1e9
        text = f"{value:,.0f}" if whole else f"{value:.3g}"
    return Fact(name, text, is_words=False)
