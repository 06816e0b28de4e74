"""The page on where a model looks; its script computes the regions again with other settings."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from aftrans_jax.report.html import page_template, write_page
from aftrans_jax.report.photos import encoded_photo
from aftrans_jax.report.pictures import MAGMA, Box, Picture, Pixels

_SCRIPTS = ("region.js", "heat.js", "explain.js")  # the computation, and its display

# Labels of the page's controls, for names of `sacm.SELECTIONS` and `regions.REGION_METHODS`.
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
    """The settings by which the model gets from its layers' class rows to a box.

    Attributes:
      layers: numbers of the fused layers, from 1, ascending.
      keep_ratio: fraction of the patches that the selection keeps, in (0, 1].
      selection: a name from `sacm.SELECTIONS`.
      method: a name from `regions.REGION_METHODS`.
      min_box: smallest side of a box in px of the global image; smaller ones become the full image.
      rows, cols: size of the grid of patches.
      image_size: side of the global image in px.
      patch_size: side of a patch in px.
      stride: distance of patches in px.
      source_size: side in px of the image that boxes are in and crops are cut from.
      local_size: side in px that a crop is resized to.
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
    """The prediction of one kind of logits.

    Attributes:
      head: name of the logits.
      is_reported: whether the run reports these.
      likeliest: classes with their probabilities, the most likely first.
    """

    head: str
    is_reported: bool
    likeliest: Sequence[tuple[str, float]]


class Explained(NamedTuple):
    """A photo with the model's attention, region and predictions.

    Attributes:
      name: path of its file below the folder that all photos of the page share.
      photo: the part that the model saw, at its own aspect ratio.
      gate: gate of every layer.
      layer_rows: class row of every layer, fused over heads; each sums to 1.
      relevance: gated sum over the fused layers.
      mask: selected patches.
      box: region that the local branch read, in px of the source image.
      answers: predictions of each of the model's logits.
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
    """Writes the page, complete or not at all; it opens from disk and needs no network.

    The page holds the values as float32, so that its script computes with exactly the model's. Its
    content security policy allows no other script, by this one's hash.

    Args:
      path: path of the file; its folder is made where it is missing.
      title: title of the page.
      said: a line about the model.
      rules: rules of the model, from which the page's controls start.
      photos: photos in the order in which they are shown, at least one.
    """
    script = "".join(page_template(name).render() for name in _SCRIPTS)
    write_page(
        path,
        "explain.html",
        title=title,
        said=said,
        rules=rules,
        num_layers=len(photos[0].gate),
        photos=[(photo, encoded_photo(Picture(photo.name, photo.photo))) for photo in photos],
        data={"rules": rules._asdict(), "magma": MAGMA, "photos": [*map(_values, photos)]},
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        selections=_SELECTIONS,
        methods=_METHODS,
    )


def _values(photo: Explained) -> dict[str, Any]:
    """Returns the script's input; arrays as base64 of little-endian bytes."""
    return {
        "gate": _packed(photo.gate, "<f4"),
        "layer_rows": _packed(photo.layer_rows, "<f4"),
        "relevance": _packed(photo.relevance, "<f4"),
        "mask": _packed(photo.mask, "u1"),
        "box": [int(edge) for edge in photo.box],
    }


def _packed(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, kind).tobytes()).decode()
