"""The parts of a drawing: those of a plot, and axes with round values, labels and positions.

Positions are in px from the drawing's top left corner, rounded to tenths. A series keeps its
number, and with it its colour, in every plot of a page.
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

MAX_NUMBERED = 16  # layers; with more, their numbers would overlap
_SPOKEN = 40  # values of a plot that its text alternative lists

Values = Sequence[int | float] | np.ndarray


class Frame(NamedTuple):
    """The size of a drawing, and the edges of the area in it where values are drawn, in px."""

    width: int = 520
    height: int = 236
    left: int = 52
    right: int = 508
    top: int = 22
    bottom: int = 190


class Tick(NamedTuple):
    """A labelled position on an axis."""

    at: float  # px, along the axis
    label: str


FRAME = Frame()


class Dot(NamedTuple):
    """A value with its whisker, and the single values behind it, in px from the left."""

    series: int
    label: str  # with the value
    lines: list[Tick]  # the label in lines; px from the top
    at: float
    low: float
    high: float
    singles: list[float]
    y: float


class Bar(NamedTuple):
    """A value, drawn from the x axis up, and a whisker around it."""

    at: float  # px, of its middle
    top: float  # px, where the value is
    spread_top: float  # px, the upper end of the whisker
    spread: float  # px, its length
    label: str  # "" where there are too many bars
    mark: float | None = None  # px, height of a value to compare with


class Plot(NamedTuple):
    """A drawing of dots, of bars, or of points and curves; the other parts are empty.

    Attributes:
      title: title of the plot.
      x_name: title of the x axis.
      x_ticks: ticks of the x axis.
      y_ticks: ticks of the y axis, none where rows are labelled instead.
      spoken: some of the values drawn, for people who cannot see the drawing.
      height: height of the drawing in px; it is as wide as `FRAME`.
      bottom: position of the x axis, in px.
      zero: position of the line at 0, None without one.
      dots: dots, one per row.
      points: x and y of points by series, with the series number unless it has a name.
      curves: x and y of each point of a curve, by series.
      names: names of the series, in a legend where there are several; none: the page has the names.
      bars: bars along the x axis.
      bar_width: width of a bar in px.
    """

    title: str
    x_name: str
    x_ticks: list[Tick]
    y_ticks: Sequence[Tick] = ()
    spoken: Sequence[str] = ()
    height: float = FRAME.height
    bottom: float = FRAME.bottom
    zero: float | None = None
    dots: Sequence[Dot] = ()
    points: Sequence[tuple[int, float, float]] = ()
    curves: Sequence[tuple[int, list[tuple[float, float]]]] = ()
    names: Mapping[int, str] = MappingProxyType({})
    bars: Sequence[Bar] = ()
    bar_width: float = 0.0


def round_ticks(
    low: float, high: float, *, has_zero: bool = False, least: float = 1e-3
) -> list[float]:
    """Returns two to eight evenly spaced round values around a range.

    Args:
      low: lower end of the range.
      high: upper end of the range.
      has_zero: whether to include 0.
      least: smallest range of the values. A shorter range is extended downwards, at most to 0, and
        then upwards, so that percentages stay percentages.
    """
    if has_zero:
        low = min(low, 0.0)
        high = max(high, 0.0)
    least = max(least, 1e-3 * max(abs(low), abs(high)))
    low = min(low, max(0.0, high - least))
    high = max(high, low + least)
    power = 10.0 ** math.floor(math.log10((high - low) / 5))
    step = next(n * power for n in (1, 2, 5, 10) if n * power >= (high - low) / 5)
    first = math.floor(low / step)
    last = math.ceil(high / step)
    return [float(f"{n * step:.10g}") for n in range(first, last + 1)]


def step_ticks(last: float) -> list[float]:
    """Returns at most five whole steps, evenly spaced from 0 to the last except for rounding."""
    return np.unique(np.linspace(0, last, 5).round()).tolist()


def layer_ticks(count: int, ends: Values) -> list[Tick]:
    """Returns the numbers of layers, from 1; for many layers only every second or third."""
    numbers = np.arange(1, count + 1)[:: 1 + count // (MAX_NUMBERED + 1)]
    return ticks(numbers, across(numbers, ends))


def labels(marks: Sequence[float]) -> list[str]:
    """Returns evenly spaced values as text, with enough digits to distinguish them."""
    step = marks[1] - marks[0]
    largest = max(map(abs, marks))
    if not 1e-4 < step <= largest < 1e6:
        return [f"{mark:.5g}" for mark in marks]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{mark:.{decimals}f}" for mark in marks]


def ticks(texts: Values | Sequence[str], places: Sequence[float]) -> list[Tick]:
    """Returns ticks with texts at positions; numbers become text."""
    return [Tick(at, str(text)) for at, text in zip(places, texts, strict=True)]


def across(x: Values, ends: Values, left: int = FRAME.left) -> list[float]:
    """Returns px from the left for values; those beyond the first or last of `ends` lie there."""
    places = np.interp(np.asarray(x), (ends[0], ends[-1]), (left, FRAME.right))
    return [round(float(place), 1) for place in places]


def down(y: Values, ends: Values) -> list[float]:
    """Returns px from the top for values; those beyond the first or last of `ends` lie there."""
    places = np.interp(np.asarray(y), (ends[0], ends[-1]), (FRAME.bottom, FRAME.top))
    return [round(float(place), 1) for place in places]


def height_ticks(marks: Sequence[float]) -> list[Tick]:
    """Returns the ticks of a y axis from the first to the last of `marks`."""
    return ticks(labels(marks), down(marks, marks))


def few(values: Values, num_series: int = 1) -> list[str]:
    """Returns some of the values of one of several series as text, at least the first."""
    return [f"{x:.3g}" for x in values[:: 1 + len(values) // max(1, _SPOKEN // num_series)]]
