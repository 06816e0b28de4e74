"""How long calls take, what they need of memory, and what the device could do at best."""

import time
from collections.abc import Callable, Mapping
from statistics import quantiles
from types import MappingProxyType
from typing import Any, NamedTuple

import jax

Call = Callable[[], Any]

# FLOP/s of dense bfloat16 and float16 products, from the datasheets, by `Device.device_kind`.
PEAK_HALF_FLOPS: Mapping[str, float] = MappingProxyType(
    {"NVIDIA H100 80GB HBM3": 989e12, "NVIDIA H200": 989e12}
)


class Timing(NamedTuple):
    """Milliseconds of one call: the median and the quartiles around it.

    Choice: a difference smaller than the quartiles' distance is noise.
    """

    median_ms: float
    lower_ms: float
    upper_ms: float


def take_turns(
    calls: Mapping[str, Call], *, num_calls: int, num_warm_up: int, burst: int = 1
) -> dict[str, Timing]:
    """Returns the time of each call, results awaited, after calls that do not count.

    Args:
      calls: by name; they take turns, so that another job on the machine slows all of them.
      num_calls: that are timed, at least 2.
      num_warm_up: calls of each before.
      burst: calls in a row before their results are awaited, so that a short one is not the time
        it takes to start it.

    Choice: medians, since another job makes a call slower and none makes it faster.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(num_warm_up + num_calls):
        for name, call in calls.items():
            began = time.perf_counter()
            jax.block_until_ready([call() for _ in range(burst)][-1])
            if turn >= num_warm_up:
                seconds[name].append((time.perf_counter() - began) / burst)
    return {name: _timing(values) for name, values in seconds.items()}


def _timing(seconds: list[float]) -> Timing:
    lower, median, upper = quantiles(seconds, n=4, method="inclusive")
    return Timing(*(round(1000 * value, 4) for value in (median, lower, upper)))


def executable_bytes(compiled: jax.stages.Compiled) -> int:
    """Returns the most memory that a call holds, by the compiler's account.

    Choice: arguments count, since a step that fits without its state is of no use.
    """
    memory = compiled.memory_analysis()
    assert memory is not None  # a compiler without an account of its memory
    return (
        memory.temp_size_in_bytes
        + memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
    )


def device_bytes(name: str) -> int | None:
    """Returns a figure of the allocator such as "peak_bytes_in_use", None where it keeps none.

    The peak is the process's: it never falls again.

    Choice: the first device speaks for all.
    """
    statistics = jax.local_devices()[0].memory_stats() or {}
    return statistics.get(name)


def utilisation(flops: float, milliseconds: float, dtype: str) -> float | None:
    """Returns the share of the device's peak that work done in a time makes, None if not known.

    Choice: only half precision has a peak here; tf32 and float32 are not what is trained in.
    """
    peak = PEAK_HALF_FLOPS.get(jax.devices()[0].device_kind)
    if peak is None or dtype not in ("bfloat16", "float16"):
        return None
    return flops / (milliseconds / 1000) / peak


def is_out_of_memory(error: Exception) -> bool:
    """Returns whether the device had too little memory for a program.

    Choice: by what the message says; there is no error type of its own.
    """
    return "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error).lower()


def largest(fits: Callable[[int], bool], first: int, *, tolerance: float = 0.06) -> int:
    """Returns the largest number that fits, to within a share of it; 0 if even 1 does not.

    From a first guess it grows by a quarter until one does not fit, or halves until one does, and
    then bisects.

    Choice: a trial is a compilation, so the guess is worth taking from what smaller ones needed.
    """
    good, bad, trial = 0, None, max(1, first)
    while bad is None or bad - good > max(1, tolerance * good):
        if fits(trial):
            good = trial
        else:
            bad = trial
        trial = good + max(1, good // 4) if bad is None else (good + bad) // 2
    return good
