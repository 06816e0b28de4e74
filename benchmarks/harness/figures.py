"""The results of benchmarks: named figures with their spread, from calls that take turns."""

import pkgutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import quantiles
from typing import Any, NamedTuple

import jax

from benchmarks.harness.worker import Talk
from benchmarks.settings import Settings

Call = Callable[[], Any]


class Figure(NamedTuple):
    """A median over calls with the quartiles around it, or one number that was counted.

    A difference smaller than the quartiles' distance is noise.

    error: how far the result is from an oracle's, 0 where they are equal.
    turns: the values of the median, in the order in which they were measured.
    """

    median: float
    unit: str
    lower: float | None = None
    upper: float | None = None
    error: float | None = None
    turns: tuple[float, ...] = ()

    def record(self) -> dict[str, Any]:
        """Returns the figure as it is written."""
        fields = self._asdict() | {"turns": None}
        return {name: value for name, value in fields.items() if value is not None}

    def rate(self, amount: float, unit: str) -> "Figure":
        """Returns the amount per second, where the figure is the time for it in ms."""
        rates = [1000 * amount / ms for ms in self.turns or (self.median,)]
        return spread(rates, unit)


class Result(NamedTuple):
    """The results of a benchmark.

    details: further information for readers.
    compiled_for: the device, where it is not the one that JAX runs on.
    """

    figures: Mapping[str, Figure]
    details: Mapping[str, Any]
    compiled_for: str | None = None


def spread(values: Sequence[float], unit: str) -> Figure:
    """Returns the median of values and their quartiles.

    Medians are used since another job makes calls slower and never faster.
    """
    if len(values) < 2:
        return Figure(round(values[0], 4), unit)
    lower, median, upper = (round(x, 4) for x in quantiles(values, n=4, method="inclusive"))
    return Figure(median, unit, lower, upper, turns=tuple(values))


def take_turns(
    calls: Mapping[str, Call],
    settings: Settings,
    *,
    burst: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Figure]:
    """Returns the milliseconds of each call, results awaited, after calls that do not count.

    Args:
      calls: calls by name; they take turns, so that another job on the machine slows all of them.
      settings: number of timed calls, number of calls of each before these, and what every turn
        waits for.
      burst: calls in a row before their results are awaited, so that the time of a short one is
        not that of starting it.
      clock: returns seconds.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(settings.num_warm_up + settings.num_calls):
        settings.pause()
        for name, call in calls.items():
            began = clock()
            jax.block_until_ready([call() for _ in range(burst)][-1])
            if turn >= settings.num_warm_up:
                times[name].append(1000 * (clock() - began) / burst)
    return {name: spread(values, "ms") for name, values in times.items()}


def run_benchmark(function: str, settings: Settings, talk: Talk) -> Result:
    """Returns a benchmark's result in a worker, which waits for an answer before every turn."""
    measure: Callable[[Settings], Result] = pkgutil.resolve_name(function)
    return measure(replace(settings, pause=lambda: talk(None)))


def ratio(ours: Figure, theirs: Figure, unit: str = "ratio") -> Figure:
    """Returns the ratio of two medians, with the quartiles of the ratios by turn."""
    median = round(ours.median / theirs.median, 4)
    if len(ours.turns) != len(theirs.turns) or len(ours.turns) < 2:
        return Figure(median, unit)
    return spread([a / b for a, b in zip(ours.turns, theirs.turns, strict=True)], unit)._replace(
        median=median
    )
