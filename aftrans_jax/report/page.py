"""Boxes, heat maps and the report a run leaves behind: one HTML file that needs nothing else."""

import base64
import io
import math
import pathlib
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

Pixels = UInt8[np.ndarray, "height width 3"]
Number = float | int | np.floating | np.integer
Box = tuple[Number, Number, Number, Number]
Color = tuple[int, int, int]

PREDICTED, ANNOTATED, _RIM = (51, 225, 196), (255, 255, 255), (16, 18, 22)
_MAGMA = "#000004,#231151,#5f187f,#982d80,#d3436e,#f8765c,#feba80,#fcfdbf"
_LEGEND = (
    ("box", f"border:3px solid rgb{PREDICTED}", "predicted region"),
    ("annotated_box", f"border:3px dashed rgb{ANNOTATED}", "annotated box"),
    ("relevance", f"background:linear-gradient(90deg,{_MAGMA})", "relevance, low to high"),
)
_GUIDE = """AFTrans reads the whole image, keeps the patches its own attention finds most relevant,
boxes their largest connected group and reads that crop again."""
_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><meta http-equiv="Content-Security-Policy"
content="default-src 'none';img-src data:;style-src 'unsafe-inline'"><style>
:root{color-scheme:light dark;--page:#f6f6f3;--card:#fff;--ink:#1d2024;--muted:#59616c;
--line:#e2e2dc;--accent:#7b3f9b;--right:#17693a;--wrong:#ad2018}
@media(prefers-color-scheme:dark){:root{--page:#131519;--card:#1c1f24;--ink:#e8e9eb;--muted:#a3aab5;
--line:#2f343b;--accent:#cfa3ea;--right:#74d6a0;--wrong:#ff9d92}}
*{box-sizing:border-box;margin:0;overflow-wrap:anywhere}p{max-width:46rem}b{white-space:nowrap}
body{padding:4vw;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
main{max-width:86rem;margin:auto}p,h3,dt,figcaption,svg text{color:var(--muted);fill:var(--muted)}
h1{line-height:1.2}h2{margin:3rem 0 .4rem;font-size:1.2rem}.grid{display:grid;gap:1rem;
margin-top:1.4rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,var(--width)),1fr))}
.grid>*{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:.9rem 1rem}
.grid dd{font-size:.92rem}.grid>div>dd{font-size:1.35rem;font-weight:600}
dt,h3,figcaption,small{display:block;font-size:.8rem;font-weight:400;line-height:1.5}
svg{width:100%;font-size:13px;overflow:visible}svg text{text-anchor:middle}path{stroke:var(--line)}
.line{fill:none;stroke-width:2.5;stroke-linecap:round}.line,.bar{stroke:var(--accent)}
.bar{opacity:.6}.whisker{stroke:var(--ink)}ul{display:flex;flex-wrap:wrap;gap:.5rem 1.8rem;
margin-top:1rem;padding:0;font-size:.88rem}li{display:flex;gap:.6rem;align-items:center}
i{width:3rem;height:1.2rem;background:#5d6b62;box-shadow:0 0 0 1px var(--muted)}figure{flex:1}
i,img{border-radius:5px}.right b{color:var(--right)}.wrong b{color:var(--wrong)}
h3,.panels{display:flex;justify-content:space-between;gap:.6rem;margin-bottom:.5rem}
main:has(:checked) .right{display:none}article dl{display:grid;grid-template-columns:auto 1fr;
gap:.1rem .8rem;align-items:baseline}img{display:block;margin-bottom:.3rem;width:100%;height:auto}
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
    image. Cells that are not finite count as 0; a constant map is lowest everywhere.

    Choice: magma, whose lightness grows evenly, so that brighter always means more relevant.
    """
    values = np.where(np.isfinite(relevance), relevance, 0).astype(np.float64)
    heat = Image.fromarray(((values - values.min()) / (np.ptp(values) or 1)).astype(np.float32))
    heat = np.asarray(heat.resize(image.shape[1::-1], Image.Resampling.BILINEAR))
    anchors = np.array([tuple(bytes.fromhex(color[1:])) for color in _MAGMA.split(",")]).T
    color = np.stack([np.interp(heat, np.linspace(0, 1, 8), row) for row in anchors], axis=-1)
    return (0.35 * image.mean(axis=-1, keepdims=True) + 0.65 * color).round().astype(np.uint8)


def _outlined(image: Pixels, box: Box | None, scale: int, color: Color, dashed: bool) -> Pixels:
    """An enlarged image with a box of the original, if there is one, in colour on a dark rim."""
    if box is None:
        return image
    top, left, bottom, right = (scale * float(edge) for edge in box)
    width = max(2, max(image.shape) // 100)
    image = draw_box(image, (top - 1, left - 1, bottom + 1, right + 1), _RIM, width + 2)
    return draw_box(image, (top, left, bottom, right), color, width, dash_px=5 * width * dashed)


def _panel(image: Pixels, name: str, caption: str, kind: str = "jpeg") -> str:
    """One image with its caption, its bytes in the page: PNG for crisp pixels, JPEG for photos."""
    Image.fromarray(image).save(buffer := io.BytesIO(), kind, quality=88, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<figure><img src="data:image/{kind};base64,{data}" alt="{escape(name)}: {caption}" width='
        f'"{image.shape[1]}" height="{image.shape[0]}"><figcaption>{caption}</figcaption></figure>'
    )


def _card(picture: Picture) -> str:
    """One image with its boxes, its relevance and its crop; what it shows and what it was named."""
    name, image, true, predicted, confidence, box, relevance, annotated = picture
    if image.dtype != np.uint8 or image.shape[2:] != (3,) or not image.size:
        raise ValueError(f"{name!r} is {image.dtype} {image.shape}: pass uint8 [height width 3]")
    scale = max(1, round(320 / max(image.shape)))  # small images: enlarged to about 320 px
    shown = image.repeat(scale, 0).repeat(scale, 1)
    drawn = _outlined(shown, annotated, scale, ANNOTATED, dashed=True)
    drawn = _outlined(drawn, box, scale, PREDICTED, dashed=False)
    panels = _panel(drawn, name, "the whole image", "png" if scale > 1 else "jpeg")
    if relevance is not None:
        heat = _outlined(overlay_heat(shown, relevance), box, scale, PREDICTED, dashed=False)
        panels += _panel(heat, name, "relevance")
    if box is not None:
        top, left, bottom, right = _inside(box, image)
        crop = Image.fromarray(image[top:bottom, left:right])
        crop = np.asarray(crop.resize(shown.shape[1::-1], Image.Resampling.BILINEAR))
        panels += _panel(crop, name, "what the local branch sees")
    mark, sign = ("right", "✓") if predicted == true else ("wrong", "✗")
    return (
        f'<article class="{mark}"><h3>{escape(name)}<b>{sign} {mark}</b></h3><div class="panels">'
        f"{panels}</div><dl><dt>predicted</dt><dd>{escape(predicted)} · {confidence:.0%}</dd>"
        f"<dt>true</dt><dd>{escape(true)}</dd></dl></article>"
    )


def _gallery(pictures: Sequence[Picture]) -> str:
    """The test images under a legend of what is drawn on them."""
    if not pictures:
        return "<h2>Test images</h2><p>No pictures were made in this run.</p>"
    drawn = [key for key, *_ in _LEGEND if any(getattr(p, key) is not None for p in pictures)]
    legend = (f'<li><i style="{style}"></i>{text}' for key, style, text in _LEGEND if key in drawn)
    num_right = sum(picture.predicted_class == picture.true_class for picture in pictures)
    guide, width = (_GUIDE, 33) if "box" in drawn else ("", 15)
    return (
        f"<h2>Test images</h2><p>{guide} {num_right} of {len(pictures)} named right.</p>"
        f'<ul>{"".join(legend)}<li><label><input type="checkbox"> only mistakes</label></ul>'
        f'<div class="grid" style="--width:{width}rem">{"".join(map(_card, pictures))}</div>'
    )


def _chart(title: str, x: np.ndarray, y: np.ndarray, spread: np.ndarray | None = None) -> str:
    """An SVG curve over training steps or, where a spread is given, bars over layers."""
    curve, peak = spread is None, y.max() if spread is None else 1.0
    power = 10.0 ** math.floor(math.log10(max(peak, 0.01)))
    y_ticks = np.linspace(0, power * next(n for n in (1, 2, 4, 6, 8, 10) if n * power >= peak), 5)
    x_ticks = np.unique(np.linspace(0, x[-1], 5).round()) if curve else x[:: 1 + len(x) // 17]
    x_ends = (0, max(x[-1], 1)) if curve else (-0.6, x[-1] + 0.6)
    x_px, x_ticks_px = (np.interp(v, x_ends, (52, 508)).round(1) for v in (x, x_ticks))
    y_px, y_ticks_px = (np.interp(v, y_ticks[[0, -1]], (190, 22)).round(1) for v in (y, y_ticks))
    body = f'<text x="280" y="230">{"step" if curve else "layer"}</text>'
    for tick, at in zip(y_ticks, y_ticks_px, strict=True):
        body += f'<path d="M52 {at}H508"/><text x="26" y="{at + 4}">{tick:.3g}</text>'
    for tick, at in zip(x_ticks, x_ticks_px, strict=True):
        body += f'<text x="{at}" y="210">{tick:.0f}</text>'
    if spread is None:
        body += f'<path class="line" d="M{" ".join(map(str, np.ravel([x_px, y_px], "F")))}h0"/>'
    else:
        for value, at, top, arm in zip(y, x_px, y_px, 168 * spread, strict=True):
            body += f'<path class="bar" stroke-width="{280 / len(x):.1f}" d="M{at} 190V{top}"/>'
            body += f'<path class="whisker" d="M{at} {top - arm:.1f}v{2 * arm:.1f}"/>'
            body += f'<text x="{at}" y="{top - arm - 6:.1f}">{value:.2f}</text>' * (len(x) < 17)
    return (
        f'<figure><figcaption>{title}</figcaption><svg viewBox="0 0 520 236" role="img" aria-label='
        f'"{title}: {", ".join(f"{v:.3g}" for v in y[:: 1 + len(y) // 40])}">{body}</svg></figure>'
    )


def _charts(history: Sequence[Mapping[str, Number]], gates: np.ndarray | None) -> str:
    """The training curves and the gates, as far as there are finite values."""
    charts = ""
    for key in ("loss", "accuracy"):
        points = sorted((r["step"], r[key]) for r in history if abs(r.get(key, math.nan)) < 1e30)
        if points:
            charts += _chart(f"Training {key}", *np.array(points, float).T)
    if gates is not None and (gates := gates[np.isfinite(gates).all(axis=1)]).size:
        title = "Gate of each layer: 1 counts its attention in full, 0 shuts it out"
        charts += _chart(title, np.arange(gates.shape[1]), gates.mean(0), gates.std(0))
    return charts or "<p>Nothing was recorded.</p>"


def _fact(key: str, value: str | Number | None) -> str:
    """One figure of the summary: fractions as percent, long times in minutes."""
    if not isinstance(value, Number):
        shown = "&ndash;" if value is None else f"<small>{escape(str(value))}</small>"
    elif 0 <= value <= 1 and any(word in key.lower() for word in ("accuracy", "area", "share")):
        shown = f"{value:.1%}"
    elif "seconds" in key.lower() and 60 <= value < math.inf:
        shown = "{} min {} s".format(*divmod(round(value), 60))
    else:
        whole = isinstance(value, int | np.integer) or 1000 <= abs(value) < 1e9
        shown = f"{value:,.0f}" if whole else f"{value:.3g}"
    return f"<div><dt>{escape(key.replace('_', ' '))}</dt><dd>{shown}</dd></div>"


def write_report(
    path: pathlib.Path,
    *,
    title: str,
    pictures: Sequence[Picture],
    gates: Float[np.ndarray, "images layers"] | None,
    summary: Mapping[str, str | Number | None],
    history: Sequence[Mapping[str, Number]],
) -> None:
    """Nothing; writes one page, whole or not at all, that opens from disk and needs no network.

    `gates` lie in (0, 1); records of `history` hold "step", "loss" and perhaps "accuracy".

    Raises:
      ValueError: An image is not uint8 [height width 3], or a box is not finite.

    Choice: pictures and charts live in the page itself, so that it can be sent on as it is.
    """
    page = (
        f"{_HEAD}<title>{escape(title)}</title><main><h1>{escape(title)}</h1>"
        f'<dl class="grid" style="--width:10.5rem">{"".join(map(_fact, summary, summary.values()))}'
        f'</dl><h2>Training</h2><div class="grid" style="--width:25rem">{_charts(history, gates)}'
        f"</div>{_gallery(pictures)}</main></html>\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(page.encode(errors="backslashreplace"))
    partial.replace(path)
