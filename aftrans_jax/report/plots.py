"""Plots that set several runs side by side: dots with whiskers, points, curves.

Positions are in px from the drawing's top left corner, rounded to tenths. A series keeps its
number, and with it its colour, in every plot of a page.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from aftrans_jax.report.charts import FRAME, MAX_NUMBERED, Tick, points_of, step_ticks, thinned
from aftrans_jax.report.pictures import Number

NUM_COLORS = 8  # series beyond are drawn in the same colours again, dashed
_LINE = 20  # px from a line of a label to the next
_LONGEST = 50  # characters of a line: no wider than the drawing in the largest type of plots.css
_MAX_POINTS = 200  # of a curve
_LEAST = 1.0  # points of accuracy that an axis spans: less is no difference to look at


class Dot(NamedTuple):
    """A value with its whisker, and the single values behind it, in px from the left."""

    series: int
    label: str  # with the value
    lines: list[Tick]  # the label, broken; px from above
    at: float
    low: float
    high: float
    singles: list[float]
    y: float


class Plot(NamedTuple):
    """A drawing of dots, of points, of curves, or of both; other parts are empty.

    Attributes:
      title: of the plot.
      height: of the drawing in px; it is as wide as `charts.FRAME`.
      bottom: where the x axis lies, in px.
      x_name: of the x axis.
      x_ticks: on the x axis.
      y_ticks: on the y axis, none where rows are labelled instead.
      zero: where the line of no difference lies, None without.
      dots: one a row.
      points: by series, x and y.
      curves: by series, x and y of each point.
    """

    title: str
    height: int
    bottom: float
    x_name: str
    x_ticks: list[Tick]
    y_ticks: Sequence[Tick] = ()
    zero: float | None = None
    dots: Sequence[Dot] = ()
    points: Sequence[tuple[int, float, float]] = ()
    curves: Sequence[tuple[int, list[tuple[float, float]]]] = ()


class Measured(NamedTuple):
    """A value with its whisker's ends, and the single values that it is the mean of."""

    series: int
    label: str
    value: float
    low: float
    high: float
    singles: Sequence[float] = ()


def dots(title: str, unit: str, values: Sequence[Measured], *, has_zero: bool = False) -> Plot:
    """Returns a row for each value, on one axis.

    Args:
      title: of the plot.
      unit: of the x axis.
      values: at least one; ends that are not finite leave the whisker out.
      has_zero: whether 0 is on the axis, with a line.
    """
    shown = [x for value in values for x in (*value[2:5], *value.singles) if math.isfinite(x)]
    marks = round_ticks(min(shown), max(shown), has_zero=has_zero, least=_LEAST)
    found, form, bottom = [], "+.1f" if has_zero else ".1f", FRAME.top
    for value in values:
        low, high = (end if math.isfinite(end) else value.value for end in (value.low, value.high))
        places = _scaled([value.value, low, high, *value.singles], marks, FRAME.left // 4)
        label = f"{value.label}: {value.value:{form}}"
        broken = enumerate(textwrap.wrap(label, _LONGEST), start=1)
        lines = [Tick(bottom + _LINE * number - 4, line) for number, line in broken]
        at, low, high, *singles = places
        y = bottom + _LINE * len(lines) + 8
        found.append(Dot(value.series, label, lines, at, low, high, singles, y))
        bottom = y + 14
    return Plot(
        title,
        height=bottom + FRAME.height - FRAME.bottom,
        bottom=bottom,
        x_name=unit,
        x_ticks=_ticks(_labels(marks), _scaled(marks, marks, FRAME.left // 4)),
        zero=_scaled([0.0], marks, FRAME.left // 4)[0] if has_zero else None,
        dots=found,
    )


def scatter(title: str, x_name: str, values: Sequence[tuple[int, float, float]]) -> Plot:
    """Returns points of series over a logarithmic x axis.

    Args:
      title: of the plot, which names y.
      x_name: of the x axis.
      values: series, x > 0 and y of each point; at least one.
    """
    x = np.array([value[1] for value in values])
    y_marks = round_ticks(*(f(value[2] for value in values) for f in (min, max)), least=_LEAST)
    low, high = math.floor(math.log2(x.min()) - 0.2), math.ceil(math.log2(x.max()) + 0.2)
    x_marks = np.linspace(low, high, high - low + 1)[:: 1 + (high - low) // 8]
    ends = [float(low), float(high)]
    places = zip(
        [value[0] for value in values],
        _scaled(np.log2(x), ends),
        _height([value[2] for value in values], y_marks),
        strict=True,
    )
    return Plot(
        title,
        height=FRAME.height,
        bottom=FRAME.bottom,
        x_name=x_name,
        x_ticks=_ticks([f"{mark:g}" for mark in 2.0**x_marks], _scaled(x_marks, ends)),
        y_ticks=_ticks(_labels(y_marks), _height(y_marks, y_marks)),
        points=list(places),
    )


def curves(
    title: str, histories: Mapping[int, Sequence[Mapping[str, Number]]], key: str
) -> Plot | None:
    """Returns the curves of a figure over training steps; None where no run has recorded it.

    Args:
      title: of the plot.
      histories: by series, training records with "step".
      key: of the figure.
    """
    known = {series: points_of(history, key) for series, history in histories.items()}
    found = {series: points for series, points in known.items() if points is not None}
    if not found:
        return None
    x_marks = step_ticks(max(1.0, *(x[-1] for x, _ in found.values()))).tolist()
    y_marks = round_ticks(0.0, float(max(y.max() for _, y in found.values())))
    drawn = []
    for series, (x, y) in found.items():
        kept = thinned(len(x), _MAX_POINTS)
        places = _scaled(x[kept], x_marks), _height(y[kept], y_marks)
        drawn.append((series, list(zip(*places, strict=True))))
    return Plot(
        title,
        height=FRAME.height,
        bottom=FRAME.bottom,
        x_name="step",
        x_ticks=_ticks([f"{mark:.0f}" for mark in x_marks], _scaled(x_marks, x_marks)),
        y_ticks=_ticks(_labels(y_marks), _height(y_marks, y_marks)),
        curves=drawn,
    )


def by_layer(
    title: str,
    values: Mapping[int, Mapping[int, float]],
    levels: Mapping[int, float],
    spread: tuple[float, float],
) -> Plot:
    """Returns points over layers, those of a series joined, and lines across all layers.

    Args:
      title: of the plot, which names y.
      values: by series and number of the layer, from 1 on; at least one.
      levels: by series, values that belong to no single layer.
      spread: lowest and highest y that must have room.
    """
    marks = round_ticks(*spread, least=_LEAST)
    count = max(number for shown in values.values() for number in shown)
    ends, numbers = [0.5, count + 0.5], np.arange(1, count + 1)[:: 1 + count // (MAX_NUMBERED + 1)]
    drawn = {}
    for series, shown in values.items():
        x = _scaled(np.array([*shown]), ends)
        drawn[series] = list(zip(x, _height([*shown.values()], marks), strict=True))
    for series, level in levels.items():
        drawn[series] = [(float(x), _height([level], marks)[0]) for x in (FRAME.left, FRAME.right)]
    return Plot(
        title,
        height=FRAME.height,
        bottom=FRAME.bottom,
        x_name="layer",
        x_ticks=_ticks([*map(str, numbers)], _scaled(numbers, ends)),
        y_ticks=_ticks(_labels(marks), _height(marks, marks)),
        points=[(series, *point) for series in values for point in drawn[series]],
        curves=[(series, points) for series, points in drawn.items() if points],
    )


def round_ticks(
    low: float, high: float, *, has_zero: bool = False, least: float = 1e-3
) -> list[float]:
    """Returns two to eight evenly spaced round values around a range.

    Args:
      low: end of the range.
      high: the other.
      has_zero: whether 0 is among them.
      least: what they span at least. A shorter range is made longer downwards, but not below 0 for
        this, and then upwards, so that percentages stay percentages.
    """
    if has_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    least = max(least, 1e-3 * max(abs(low), abs(high)))
    low = min(low, max(0.0, high - least))
    high = max(high, low + least)
    power = 10.0 ** math.floor(math.log10((high - low) / 5))
    step = next(n * power for n in (1, 2, 5, 10) if n * power >= (high - low) / 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(n * step, 10) for n in range(first, last + 1)]


def _labels(marks: Sequence[float]) -> list[str]:
    """Returns evenly spaced values as text, with the digits that tell them apart."""
    step, largest = marks[1] - marks[0], max(map(abs, marks))
    if not 1e-6 < step <= largest < 1e6:
        return [f"{mark:.5g}" for mark in marks]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{mark:.{decimals}f}" for mark in marks]


def _scaled(
    x: Sequence[float] | np.ndarray, marks: Sequence[float], left: int = FRAME.left
) -> list[float]:
    places = np.interp(np.asarray(x), (marks[0], marks[-1]), (left, FRAME.right))
    return [round(float(place), 1) for place in places]


def _height(y: Sequence[float] | np.ndarray, marks: Sequence[float]) -> list[float]:
    places = np.interp(np.asarray(y), (marks[0], marks[-1]), (FRAME.bottom, FRAME.top))
    return [round(float(place), 1) for place in places]


def _ticks(labels: Sequence[str], places: Sequence[float]) -> list[Tick]:
    return [Tick(at, label) for at, label in zip(places, labels, strict=True)]
