"""Boxes, heat maps and the report a run leaves behind: one HTML file that needs nothing else."""

import base64
import io
import math
import numbers
import os
import pathlib
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

Pixels = UInt8[np.ndarray, "height width 3"]
Gates = Float[np.ndarray, "images layers"]
Box = tuple[float | int, float | int, float | int, float | int]
Color = tuple[int, int, int]

PREDICTED, ANNOTATED, _RIM = (51, 225, 196), (255, 255, 255), (16, 18, 22)
_PANEL_PX = 320  # images are enlarged by a whole factor to about this
_MAGMA = "#000004,#231151,#5f187f,#982d80,#d3436e,#f8765c,#feba80,#fcfdbf"
_LEGEND = (
    ("box", f"border:3px solid rgb{PREDICTED}", "predicted region"),
    ("annotated_box", f"border:3px dashed rgb{ANNOTATED}", "annotated box"),
    ("relevance", f"background:linear-gradient(90deg,{_MAGMA})", "relevance, low to high"),
)
_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><meta http-equiv="Content-Security-Policy"
content="default-src 'none';img-src data:;style-src 'unsafe-inline'"><style>
:root{color-scheme:light dark;--page:#f6f6f3;--card:#fff;--ink:#1d2024;--muted:#59616c;
--line:#e2e2dc;--accent:#7b3f9b;--right:#17693a;--wrong:#ad2018}
@media(prefers-color-scheme:dark){:root{--page:#131519;--card:#1c1f24;--ink:#e8e9eb;--muted:#a3aab5;
--line:#2f343b;--accent:#cfa3ea;--right:#74d6a0;--wrong:#ff9d92}}
*{box-sizing:border-box}h1,h2,h3,p,dl,dd,figure{margin:0;overflow-wrap:anywhere}
body{margin:0;padding:clamp(1.2rem,4vw,3.5rem) clamp(1rem,4vw,3rem);background:var(--page);
color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:86rem;margin:auto}p,h3,dt,figcaption,svg text{color:var(--muted);fill:var(--muted)}
h1{font-size:clamp(1.6rem,3.5vw,2.3rem);line-height:1.2}h2{margin-top:3rem;font-size:1.2rem}
p{margin-top:.4rem;max-width:46rem}.grid{display:grid;gap:1rem;margin-top:1.4rem;
grid-template-columns:repeat(auto-fill,minmax(min(100%,var(--width)),1fr))}
.grid>*{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:.9rem 1rem}
dt,figcaption{font-size:.8rem;line-height:1.5}.grid>div>dd{font-size:1.35rem;font-weight:600}
dd>small{display:block;font-weight:400;font-size:.85rem}svg{width:100%;font-size:13px}
svg text{text-anchor:middle}path{fill:none;stroke:var(--line)}.line,.bar{stroke:var(--accent)}
.line,.whisker{stroke-width:2}.bar{opacity:.6}.whisker{stroke:var(--ink)}li{list-style:none}
ul,li{display:flex;flex-wrap:wrap;align-items:center;gap:.5rem 1.8rem;padding:0;font-size:.88rem}
i{width:3rem;height:1.2rem;margin-right:-1.2rem;border-radius:4px;background:#5d6b62}
main:has(:checked) .right{display:none}.panels{display:flex;gap:.6rem;margin:.5rem 0}
.panels figure{flex:1}img{display:block;width:100%;height:auto;border-radius:6px}
article dl{display:grid;grid-template-columns:auto 1fr;gap:.1rem .8rem;align-items:baseline}
h3{display:flex;gap:1rem;justify-content:space-between;font-size:.82rem;font-weight:500}
b{white-space:nowrap}.right b{color:var(--right)}.wrong b{color:var(--wrong)}dd{font-size:.92rem}
</style>"""


class Picture(NamedTuple):
    """One test image of the report, as the global branch saw it; boxes are in its pixels.

    Choice: plain numpy, so that a report can be drawn again from saved arrays, without JAX.
    """

    name: str  # file name or id
    image: Pixels
    true_class: str
    predicted_class: str
    confidence: float  # probability of the predicted class
    box: Box | None = None  # what the local branch read; None for a model without one
    relevance: Float[np.ndarray, "rows cols"] | None = None  # one value >= 0 per patch
    annotated_box: Box | None = None


def draw_box(image: Pixels, box: Box, color: Color, width: int, *, dash_px: int = 0) -> Pixels:
    """A copy of the image with the outline of a box, `width` pixels wide.

    The outline lies inside the box, so it shows even where the box touches the image's edge. Parts
    beyond the image are cut; at least one pixel is drawn. `dash_px` > 0 gives dashes that long.

    Raises:
      ValueError: The box has a coordinate that is not finite.

    Choice: whole pixels without smoothing, so that the drawn box is the box, exactly.
    """
    top, left, bottom, right = _inside(box, image)
    rows, cols = np.mgrid[: bottom - top, : right - left]
    outline = (rows < width) | (rows[::-1] < width) | (cols < width) | (cols[:, ::-1] < width)
    if dash_px:
        outline &= (rows + cols) // dash_px % 2 == 0
    copy = image.copy()
    copy[top:bottom, left:right][outline] = color
    return copy


def _inside(box: Box, image: Pixels) -> tuple[int, int, int, int]:
    """The box in whole pixels, at least one of them, all within the image."""
    if not all(map(math.isfinite, box)):
        raise ValueError(f"box {box} is not finite: expected (top, left, bottom, right) in pixels")
    top, left = (min(max(round(box[i]), 0), image.shape[i] - 1) for i in (0, 1))
    bottom = min(max(round(box[2]), top + 1), image.shape[0])
    return top, left, bottom, min(max(round(box[3]), left + 1), image.shape[1])


def overlay_heat(image: Pixels, relevance: Float[np.ndarray, "rows cols"]) -> Pixels:
    """The image, grey and dimmed, under a colour map of its relevance.

    The map is stretched from its own lowest to its own highest value and spread evenly over the
    image. Cells that are not finite count as lowest; a constant map is lowest everywhere.

    Choice: magma, whose lightness grows evenly, so that brighter always means more relevant.
    """
    finite = np.isfinite(relevance)
    low, high = np.min(relevance, where=finite, initial=np.inf), ...
