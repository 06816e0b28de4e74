"""The page on where a model looks; its script selects, labels and boxes again as one likes."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from aftrans_jax.report.html import page_template, write_page
from aftrans_jax.report.pictures import MAGMA, Box, Pixels, plain_panel

_SCRIPTS = ("region.js", "heat.js", "explain.js")  # the arithmetic, and what shows it

# What the page's controls offer, in words: names of `sacm.SELECTIONS` and `regions.REGION_METHODS`.
_SELECTIONS = {
    "fused": "the layers' sum",
    "union": "each layer, together",
    "votes": "each layer, by votes",
}
_METHODS = {
    "largest_component": "largest group",
    "most_relevant_component": "most relevant group",
    "extreme_values": "all kept patches",
    "centred": "same size, centred",
    "whole": "whole photo",
}


class Rules(NamedTuple):
    """How the model comes from its layers' class rows to a box.

    Attributes:
      layers: numbers, from 1 on, of the fused ones, ascending.
      keep_ratio: share that the selection keeps, in (0, 1].
      selection: a name from `sacm.SELECTIONS`.
      method: a name from `regions.REGION_METHODS`.
      min_box: px of the global image; a smaller box becomes the whole image.
      rows, cols: of the grid of patches.
      image_size: px, side of the global image.
      patch_size: px.
      stride: px between patches.
      source_size: px, side of the image that boxes are in and crops are cut from.
      local_size: px, side that a crop is stretched to.
    """

    layers: tuple[int, ...]
    keep_ratio: float
    selection: str
    method: str
    min_box: int
    rows: int
    cols: int
    image_size: int
    patch_size: int
    stride: int
    source_size: int
    local_size: int


class Answer(NamedTuple):
    """What one kind of logits answers.

    Attributes:
      head: its name.
      is_reported: whether the run reports these.
      likeliest: classes with their probabilities, the likeliest first.
    """

    head: str
    is_reported: bool
    likeliest: Sequence[tuple[str, float]]


class Explained(NamedTuple):
    """A photo and what the model makes of it.

    Attributes:
      name: file name.
      photo: what the model saw of it, at its own aspect ratio.
      gate: of every layer.
      layer_rows: class row of every layer, fused over heads; each sums to 1.
      relevance: gated sum over the fused layers.
      mask: selected patches.
      box: that the local branch read, in px of the source image.
      answers: by each of the model's logits.
    """

    name: str
    photo: Pixels
    gate: Float[np.ndarray, " layers"]
    layer_rows: Float[np.ndarray, "layers patches"]
    relevance: Float[np.ndarray, "rows cols"]
    mask: Bool[np.ndarray, "rows cols"]
    box: Box
    answers: Sequence[Answer]


def write_explanation(
    path: Path, *, title: str, said: str, rules: Rules, photos: Sequence[Explained]
) -> None:
    """Writes the page, whole or not at all; it opens from disk and needs no network.

    The values lie in it as float32, so that its script computes with the model's own. The page's
    policy lets no script run but this one, by its hash.

    Args:
      path: of the file; its folder is made where it is missing.
      title: of the page.
      said: a line on the model.
      rules: of the model; the page's controls start from them.
      photos: in the order in which they are shown, at least one.
    """
    script = "".join(page_template(name).render() for name in _SCRIPTS)
    write_page(
        path,
        "explain.html",
        title=title,
        said=said,
        rules=rules,
        num_layers=len(photos[0].gate),
        photos=[(photo, plain_panel(photo.photo)) for photo in photos],
        data={"rules": rules._asdict(), "magma": MAGMA, "photos": [*map(_values, photos)]},
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        selections=_SELECTIONS,
        methods=_METHODS,
    )


def _values(photo: Explained) -> dict[str, Any]:
    """Returns what the script computes with; arrays as base64 of little-endian bytes."""
    return {
        "gate": _packed(photo.gate, "<f4"),
        "layer_rows": _packed(photo.layer_rows, "<f4"),
        "relevance": _packed(photo.relevance, "<f4"),
        "mask": _packed(photo.mask, "u1"),
        "box": [int(edge) for edge in photo.box],
    }


def _packed(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, kind).tobytes()).decode()
