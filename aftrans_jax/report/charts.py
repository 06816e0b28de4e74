"""The numbers behind the report's charts: ticks and points, scaled to the drawing.

Positions are in px from the drawing's top left corner, rounded to tenths.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from aftrans_jax.report.pictures import Number

Values = Float[np.ndarray, " points"]

MAX_NUMBERED = 16  # bars; the numbers of more would overlap


class Frame(NamedTuple):
    """The size of a drawing, and the edges within it between which values are drawn, in px."""

    width: int = 520
    height: int = 236
    left: int = 52
    right: int = 508
    top: int = 22
    bottom: int = 190


class Tick(NamedTuple):
    """A labelled place on an axis."""

    at: float  # px, along the axis
    label: str


class Bar(NamedTuple):
    """A mean, drawn from the x axis up, and one standard deviation to both sides of it."""

    at: float  # px, the middle
    top: float  # px, where the mean is
    spread_top: float  # px, one standard deviation above the mean
    spread: float  # px, two standard deviations
    label: str  # "" where there are too many bars


class Chart(NamedTuple):
    """A curve, or bars, with its axes."""

    title: str
    x_name: str  # what the x axis counts
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    values: list[str]  # at most 40 of the values drawn, for those who cannot see the drawing
    line: Sequence[tuple[float, float]] = ()  # x and y of the curve's points
    bars: Sequence[Bar] = ()
    bar_width: float = 0.0  # px


FRAME = Frame()


def charts(
    history: Sequence[Mapping[str, Number]], gates: Float[np.ndarray, "images layers"] | None
) -> list[Chart]:
    """Returns the training curves and the gates, as far as there are finite values.

    Args:
      history: records that hold "step" and perhaps "loss" and "accuracy", in any order.
      gates: each layer's, in [0, 1]; images whose gates are not all finite are left out.
    """
    found = []
    for key in ("loss", "accuracy"):
        # NaN fails the comparison; what is larger cannot be drawn.
        points = sorted((r["step"], r[key]) for r in history if abs(r.get(key, math.nan)) < 1e30)
        if points:
            found.append(curve(f"Training {key}", *np.array(points, np.float64).T))
    if gates is not None and (gates := gates[np.isfinite(gates).all(axis=1)]).size:
        title = "Gate of each layer: 1 counts its attention in full, 0 shuts it out"
        found.append(bars(title, gates.mean(axis=0), gates.std(axis=0)))
    return found


def curve(title: str, steps: Values, values: Values) -> Chart:
    """Returns the chart of values >= 0 over ascending training steps; at least one point."""
    ticks = y_ticks(values.max())
    ends = (0.0, max(float(steps[-1]), 1.0))
    x = _across(steps, ends).tolist()
    return Chart(
        title=title,
        x_name="step",
        x_ticks=_ticks(step_ticks(steps[-1]), ends),
        y_ticks=_height_ticks(ticks),
        values=_spoken(values),
        line=list(zip(x, _down(values, ticks[-1]).tolist(), strict=True)),
    )


def bars(title: str, means: Values, spreads: Values) -> Chart:
    """Returns the chart of layers' means in [0, 1] and their standard deviations, >= 0."""
    count = len(means)
    layers, ends = np.arange(1, count + 1), (0.4, count + 0.6)
    places = _across(layers, ends).tolist()
    tops = _down(means, 1.0).tolist()
    arms = (spreads * (FRAME.bottom - FRAME.top)).tolist()
    labels = [f"{mean:.2f}" if count <= MAX_NUMBERED else "" for mean in means]
    return Chart(
        title=title,
        x_name="layer",
        x_ticks=_ticks(layers[:: 1 + count // (MAX_NUMBERED + 1)], ends),
        y_ticks=_height_ticks(y_ticks(1.0)),
        values=_spoken(means),
        bars=[
            Bar(at, top, spread_top=round(top - arm, 1), spread=round(2 * arm, 1), label=label)
            for at, top, arm, label in zip(places, tops, arms, labels, strict=True)
        ],
        bar_width=round(280 / count, 1),
    )


def y_ticks(peak: float) -> Values:
    """Returns five evenly spaced values from 0 to the first round number >= the peak, >= 0.01.

    Round are 1, 2, 4, 6 and 8 times a power of ten.
    """
    power = 10.0 ** math.floor(math.log10(max(peak, 0.01)))
    return np.linspace(0, power * next(n for n in (1, 2, 4, 6, 8, 10) if n * power >= peak), 5)


def step_ticks(last: float) -> Values:
    """Returns at most five whole steps, evenly spaced from 0 to the last but for rounding."""
    return np.unique(np.linspace(0, last, 5).round())


def _across(x: np.ndarray, ends: tuple[float, float]) -> Values:
    """Returns px from the left."""
    return np.interp(x, ends, (FRAME.left, FRAME.right)).round(1)


def _down(y: np.ndarray, top: float) -> Values:
    """Returns px from above of values in [0, top]."""
    return np.interp(y, (0, top), (FRAME.bottom, FRAME.top)).round(1)


def _ticks(x: np.ndarray, ends: tuple[float, float]) -> list[Tick]:
    places = _across(x, ends).tolist()
    return [Tick(at, f"{value:.0f}") for at, value in zip(places, x, strict=True)]


def _height_ticks(y: Values) -> list[Tick]:
    places = _down(y, y[-1]).tolist()
    return [Tick(at, f"{value:.3g}") for at, value in zip(places, y, strict=True)]


def _spoken(values: Values) -> list[str]:
    return [f"{value:.3g}" for value in values[:: 1 + len(values) // 40]]
