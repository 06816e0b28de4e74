"""The numbers behind the report's charts: ticks and points, scaled to the drawing.

Positions are in px from the drawing's top left corner, rounded to tenths.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from aftrans_jax.report.answers import NUM_BINS, Calibration, share
from aftrans_jax.report.pictures import Number

Records = Sequence[Mapping[str, Number]]  # of a training
Values = Float[np.ndarray, " points"]
Points = tuple[Values, Values]  # x, ascending, and y

_LARGEST = 1e30  # what is larger cannot be drawn
MAX_NUMBERED = 16  # bars; the numbers of more would overlap
_MAX_POINTS = 400  # of a line
_MAX_DOTS = 12
_SPOKEN = 40  # values of a chart


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
    """A value, drawn from the x axis up, and a whisker around it."""

    at: float  # px, the middle
    top: float  # px, where the value is
    spread_top: float  # px, the upper end of the whisker
    spread: float  # px, its length
    label: str  # "" where there are too many bars
    mark: float | None = None  # px, where a value is that it is to be compared with


class Line(NamedTuple):
    """A curve: its number, for its colour, its name in the legend, and x and y of its points.

    `dots` are points that are marked, as where there are few of them.
    """

    series: int
    name: str
    points: Sequence[tuple[float, float]]
    dots: Sequence[tuple[float, float]] = ()


class Chart(NamedTuple):
    """Curves, or bars, with their axes."""

    title: str
    x_name: str  # what the x axis counts
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    values: list[str]  # some of the values drawn, for those who cannot see the drawing
    lines: Sequence[Line] = ()
    bars: Sequence[Bar] = ()
    bar_width: float = 0.0  # px


FRAME = Frame()


def curves(
    title: str, lines: Mapping[str, Points], *, last: float, peak: float = 0.0, floor: float = 0.01
) -> Chart:
    """Returns the chart of values >= 0 over training steps, on common axes.

    Args:
      title: of the chart.
      lines: by name; at least one, each of at least one point.
      last: step at the end of the x axis, unless there are later ones.
      peak: value that must have room.
      floor: the y axis is not lower than this.
    """
    ticks = y_ticks(max(peak, *(y.max() for _, y in lines.values())), floor)
    last = max(last, 1.0, *(x[-1] for x, _ in lines.values()))
    drawn, spoken = [], []
    for series, (name, (x, y)) in enumerate(lines.items()):
        kept = thinned(len(x), _MAX_POINTS)
        places = _across(x[kept], (0.0, last)).tolist(), _down(y[kept], ticks[-1]).tolist()
        points = list(zip(*places, strict=True))
        drawn.append(Line(series, name, points, points if len(points) <= _MAX_DOTS else ()))
        few = _few(y, _SPOKEN // len(lines))
        spoken += [f"{name} {few[0]}", *few[1:]] if len(lines) > 1 else few
    return Chart(
        title=title,
        x_name="step",
        x_ticks=_ticks(step_ticks(last), (0.0, last)),
        y_ticks=_height_ticks(ticks),
        values=spoken,
        lines=drawn,
    )


def bars(title: str, means: Values, spreads: Values) -> Chart:
    """Returns the chart of layers' means in [0, 1] and their standard deviations, >= 0.

    What of a whisker lies beyond 0 or 1 is not drawn.
    """
    count = len(means)
    layers, ends = np.arange(1, count + 1), (0.4, count + 0.6)
    places = _across(layers, ends).tolist()
    tops = _down(means, 1.0).tolist()
    highs, lows = (_down(ends, 1.0).tolist() for ends in (means + spreads, means - spreads))
    labels = [f"{mean:.2f}" if count <= MAX_NUMBERED else "" for mean in means]
    return Chart(
        title=title,
        x_name="layer",
        x_ticks=_ticks(layers[:: 1 + count // (MAX_NUMBERED + 1)], ends),
        y_ticks=_height_ticks(y_ticks(1.0)),
        values=_few(means, _SPOKEN),
        bars=[
            Bar(at, top, spread_top=high, spread=round(low - high, 1), label=label)
            for at, top, high, low, label in zip(places, tops, highs, lows, labels, strict=True)
        ],
        bar_width=round(280 / count, 1),
    )


def reliability(title: str, calibration: Calibration) -> Chart:
    """Returns the accuracy of each bin of confidence with its interval, in %.

    A mark across each bar is at the mean confidence of the bin.
    """
    ends, found = (0.0, 100.0), []
    for number, count in enumerate(calibration.counts.tolist()):
        if not count:
            continue
        hits = share(round(calibration.accuracy[number] * count), count)
        middle = 100 * (number + 0.5) / NUM_BINS
        at = float(_across(np.array([middle]), ends)[0])
        shares = [hits.value, hits.high, hits.low, calibration.confidence[number]]
        top, high, low, mark = _down(100 * np.array(shares), 100.0).tolist()
        found.append(Bar(at, top, high, round(low - high, 1), str(count), mark))
    ticks = np.linspace(0, 100, 5)
    return Chart(
        title=title,
        x_name="confidence, %",
        x_ticks=_ticks(ticks, ends),
        y_ticks=_height_ticks(ticks),
        values=_few(100 * calibration.accuracy[calibration.counts > 0], _SPOKEN),
        bars=found,
        bar_width=32.0,
    )


def points_of(records: Records, key: str, *, scale: float = 1.0) -> Points | None:
    """Returns a figure over steps, as far as it is finite; None where it was never recorded.

    Args:
      records: that hold "step", in any order; of one step the last one counts.
      key: of the figure.
      scale: that it is multiplied by.
    """
    # NaN fails the comparison.
    known = {r["step"]: scale * r[key] for r in records if abs(r.get(key, math.nan)) < _LARGEST}
    if not known:
        return None
    steps = sorted(known)
    return np.array(steps, np.float64), np.array([known[step] for step in steps], np.float64)


def thinned(count: int, most: int) -> Int[np.ndarray, " points"]:
    """Returns which of some points are drawn: evenly spaced ones, the first and the last always."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)


def y_ticks(peak: float, floor: float = 0.01) -> Values:
    """Returns five evenly spaced values from 0 to the first round number >= the peak, >= floor.

    Round are 1, 2, 4, 6 and 8 times a power of ten.
    """
    power = 10.0 ** math.floor(math.log10(max(peak, floor)))
    return np.linspace(0, power * next(n for n in (1, 2, 4, 6, 8, 10) if n * power >= peak), 5)


def step_ticks(last: float) -> Values:
    """Returns at most five whole steps, evenly spaced from 0 to the last but for rounding."""
    return np.unique(np.linspace(0, last, 5).round())


def _across(x: np.ndarray, ends: tuple[float, float]) -> Values:
    """Returns px from the left."""
    return np.interp(x, ends, (FRAME.left, FRAME.right)).round(1)


def _down(y: np.ndarray, top: float) -> Values:
    """Returns px from above of values in [0, top]; others lie at its ends."""
    return np.interp(y, (0, top), (FRAME.bottom, FRAME.top)).round(1)


def _ticks(x: np.ndarray, ends: tuple[float, float]) -> list[Tick]:
    places = _across(x, ends).tolist()
    return [Tick(at, f"{value:.0f}") for at, value in zip(places, x, strict=True)]


def _height_ticks(y: Values) -> list[Tick]:
    places = _down(y, y[-1]).tolist()
    return [Tick(at, f"{value:.3g}") for at, value in zip(places, y, strict=True)]


def _few(values: Values, count: int) -> list[str]:
    return [f"{value:.3g}" for value in values[:: 1 + len(values) // count]]
