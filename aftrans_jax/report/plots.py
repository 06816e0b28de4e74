"""Plots of one or several runs: dots with whiskers, points, curves."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from aftrans_jax.report.drawing import (
    FRAME,
    Dot,
    Plot,
    Tick,
    across,
    down,
    few,
    height_ticks,
    labels,
    layer_ticks,
    round_ticks,
    step_ticks,
    ticks,
)
from aftrans_jax.report.pictures import Number

_LINE = 20  # px from one line of a label to the next
_LONGEST = 50  # characters of a line: no wider than the drawing in the largest type of plots.css
_MAX_POINTS = 200  # points of a curve
_MAX_MARKED = 12  # points of a curve with a dot at each
_LEAST = 1.0  # smallest range of an axis of accuracy, in points: less would magnify noise
_LARGEST = 1e30  # larger values cannot be drawn

Records = Sequence[Mapping[str, Number]]  # records of a training
Points = tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]  # x, ascending, and y


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
      title: title of the plot.
      unit: unit of the x axis.
      values: at least one value; those with ends that are not finite get no whisker.
      has_zero: whether to show 0 on the axis, with a line.
    """
    finite = [x for value in values for x in (*value[2:5], *value.singles) if math.isfinite(x)]
    marks = round_ticks(min(finite), max(finite), has_zero=has_zero, least=_LEAST)
    rows = []
    form = "+.1f" if has_zero else ".1f"
    bottom = FRAME.top
    for value in values:
        low, high = (end if math.isfinite(end) else value.value for end in (value.low, value.high))
        places = across([value.value, low, high, *value.singles], marks, FRAME.left // 4)
        label = f"{value.label}: {value.value:{form}}"
        broken = enumerate(textwrap.wrap(label, _LONGEST), start=1)
        lines = [Tick(bottom + _LINE * number - 4, line) for number, line in broken]
        at, low, high, *singles = places
        y = bottom + _LINE * len(lines) + 8
        rows.append(Dot(value.series, label, lines, at, low, high, singles, y))
        bottom = y + 14
    return Plot(
        title,
        x_name=unit,
        x_ticks=ticks(labels(marks), across(marks, marks, FRAME.left // 4)),
        spoken=[dot.label for dot in rows],
        height=bottom + FRAME.height - FRAME.bottom,
        bottom=bottom,
        zero=across([0.0], marks, FRAME.left // 4)[0] if has_zero else None,
        dots=rows,
    )


def scatter(title: str, x_name: str, values: Sequence[tuple[int, float, float]]) -> Plot:
    """Returns points of series over a logarithmic x axis.

    Args:
      title: title of the plot, which names y.
      x_name: title of the x axis.
      values: series number, x > 0 and y of each point; at least one.
    """
    series, x, y = zip(*values, strict=True)
    y_marks = round_ticks(min(y), max(y), least=_LEAST)
    powers = np.log2(x)
    low = math.floor(powers.min() - 0.2)
    high = math.ceil(powers.max() + 0.2)
    x_marks = np.linspace(low, high, high - low + 1)[:: 1 + (high - low) // 8]
    ends = (low, high)
    return Plot(
        title,
        x_name=x_name,
        x_ticks=ticks([f"{mark:g}" for mark in 2.0**x_marks], across(x_marks, ends)),
        y_ticks=height_ticks(y_marks),
        points=list(zip(series, across(powers, ends), down(y, y_marks), strict=True)),
    )


def curves(
    title: str,
    lines: Mapping[int, Points],
    *,
    names: Mapping[int, str] = MappingProxyType({}),
    last: float = 1.0,
    peak: float = 0.0,
    least: float = 1e-3,
) -> Plot:
    """Returns curves of values >= 0 over training steps, on common axes.

    Args:
      title: title of the plot.
      lines: curves by series; at least one, each of at least one point.
      names: names of the series; points of named ones are marked where they are few, single ones
        always.
      last: step at the end of the x axis, unless there are later ones.
      peak: value that the y axis must reach.
      least: smallest range of the y axis.
    """
    x_marks = step_ticks(max(last, *(x[-1] for x, _ in lines.values())))
    y_marks = round_ticks(0.0, max(peak, *(float(y.max()) for _, y in lines.values())), least=least)
    drawn = {}
    spoken = []
    for series, (x, y) in lines.items():
        kept = thinned(len(x), _MAX_POINTS)
        drawn[series] = list(zip(across(x[kept], x_marks), down(y[kept], y_marks), strict=True))
        first, *others = few(y, len(lines))
        name = f"{names.get(series, series + 1)} " if len(lines) > 1 else ""
        spoken += [f"{name}{first}", *others]
    return Plot(
        title,
        x_name="step",
        x_ticks=ticks([f"{mark:.0f}" for mark in x_marks], across(x_marks, x_marks)),
        spoken=spoken,
        y_ticks=height_ticks(y_marks),
        points=[
            (series, *point)
            for series, points in drawn.items()
            if len(points) == 1 or (series in names and len(points) <= _MAX_MARKED)
            for point in points
        ],
        curves=list(drawn.items()),
        names=names,
    )


def by_layer(
    title: str,
    values: Mapping[int, Mapping[int, float]],
    levels: Mapping[int, float],
    spread: tuple[float, float],
) -> Plot:
    """Returns points over layers, those of a series joined, and lines across all layers.

    Args:
      title: title of the plot, which names y.
      values: values by series and number of the layer, from 1; at least one.
      levels: values that belong to no single layer, by series.
      spread: lowest and highest y that the axis must reach.
    """
    marks = round_ticks(*spread, least=_LEAST)
    count = max(number for shown in values.values() for number in shown)
    ends = (0.5, count + 0.5)
    drawn = {}
    for series, shown in values.items():
        places = across([*shown], ends), down([*shown.values()], marks)
        drawn[series] = list(zip(*places, strict=True))
    for series, level in levels.items():
        drawn[series] = [(float(x), down([level], marks)[0]) for x in (FRAME.left, FRAME.right)]
    return Plot(
        title,
        x_name="layer",
        x_ticks=layer_ticks(count, ends),
        y_ticks=height_ticks(marks),
        points=[(series, *point) for series in values for point in drawn[series]],
        curves=[(series, points) for series, points in drawn.items() if points],
    )


def points_of(records: Records, key: str, *, scale: float = 1.0) -> Points | None:
    """Returns a figure over steps, where it is finite; None where it was never recorded.

    Args:
      records: records with "step", in any order; the last one for a step counts.
      key: name of the figure.
      scale: factor for the figure.
    """
    # The comparison is false for NaN.
    by_step = {r["step"]: scale * r[key] for r in records if abs(r.get(key, math.nan)) < _LARGEST}
    if not by_step:
        return None
    steps = sorted(by_step)
    return np.array(steps, np.float64), np.array([by_step[step] for step in steps], np.float64)


def thinned(count: int, most: int) -> Int[np.ndarray, " points"]:
    """Returns which points to draw: evenly spaced ones, always with the first and the last."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)
