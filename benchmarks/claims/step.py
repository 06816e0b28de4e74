"""One training step: AFTrans beside two plain ViT steps and beside one that stores all maps.

Random weights and pixels, no loader. Where memory runs out, a model has no time.
"""

import gc
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from benchmarks.harness.errors import LeftOutError
from benchmarks.harness.figures import Figure, Result, ratio, take_turns
from benchmarks.harness.memory import (
    bytes_per_image,
    device_bytes,
    is_out_of_memory,
    largest,
    utilisation,
)
from benchmarks.models.cases import CASES, case_flops
from benchmarks.models.training import Step
from benchmarks.settings import Settings

DEFAULT_CASES = ("vit_local", "vit_global", "aftrans", "aftrans_every_token", "naive")
OURS = ("aftrans", "aftrans_every_token")


def attempt(name: str, settings: Settings, batch: int) -> tuple[Step | None, dict[str, Any]]:
    """Returns a step after its first call, None where memory ran out, and details on it."""
    gc.collect()  # an earlier step's arrays, which its error may still have held
    known: dict[str, Any] = {}
    began = time.perf_counter()
    before = device_bytes("peak_bytes_in_use")
    try:
        step = Step(CASES[name], settings.config(), batch)
        known["executable_bytes"] = step.executable_bytes
        known["preparation_s"] = round(time.perf_counter() - began, 1)
        _, metrics = jax.block_until_ready(step())
    except jax.errors.JaxRuntimeError as error:
        if is_out_of_memory(error):
            return None, known
        raise
    assert np.isfinite(metrics["loss"].total), "the loss is not finite"
    peak = device_bytes("peak_bytes_in_use")
    # The peak is the process's: it says nothing of a step that needs less than one before.
    return step, known | {"device_peak_bytes": peak if peak != before else None}


def measure(settings: Settings) -> Result:
    """Returns time, speed, memory and utilisation of each case that fits, and their ratios.

    Utilisation counts the FLOP that the case needs, so that the shortcut does not increase it;
    "model FLOP" are those of the model as published.
    """
    details = dict[str, Any](settings.resolved())
    figures = dict[str, Figure]()
    steps = {}
    for name in settings.pick(CASES, DEFAULT_CASES):
        step, details[name] = attempt(name, settings, settings.batch)
        details[name]["out_of_memory"] = step is None
        if step is not None:
            steps[name] = step
        if (size := details[name].get("executable_bytes")) is not None:
            figures[f"{name}, memory"] = Figure(round(size / settings.batch), "bytes an image")
    for name, timing in take_turns(steps, settings).items():
        figures[f"{name}, time"] = timing
        figures[f"{name}, speed"] = timing.rate(settings.batch, "images/s")
        config = settings.config()
        case = CASES[name]
        needed = 3 * case_flops(case, config)
        whole = 3 * case_flops(case._replace(every_token=True), config)
        details[name]["gflop_per_image"] = round(needed / 1e9, 2)
        for kind, work in (("utilisation", needed), ("model FLOP utilisation", whole)):
            share = utilisation(settings.batch * work, timing.median, details["dtype"])
            if share is not None:
                figures[f"{name}, {kind}"] = Figure(round(share, 4), "share of peak")
    return Result(figures | ratios(figures), details)


def ratios(figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """Returns P1 and P2 where their parts were measured; memory is known if a step ran out."""
    times = {name.removesuffix(", time"): x for name, x in figures.items() if ", time" in name}
    found = {}
    for name in [name for name in OURS if name in times]:
        if times.keys() >= {"vit_local", "vit_global"}:
            parts = times["vit_local"], times["vit_global"]
            turns = zip(*(part.turns for part in parts), strict=True)
            plain = Figure(sum(part.median for part in parts), "ms", turns=tuple(map(sum, turns)))
            found[f"{name} / two plain steps"] = ratio(times[name], plain)
        if "naive" in times:
            found[f"naive / {name}, time"] = ratio(times["naive"], times[name])
        if "naive, memory" in figures:
            pair = figures[f"{name}, memory"], figures["naive, memory"]
            found[f"{name} / naive, memory"] = ratio(*pair)
    return found


def guess_batch(known: Mapping[int, int], limit: int) -> int:
    """Returns the batch that would fill the memory, extrapolated from smaller ones."""
    if not known:
        return 1
    batch = max(known)
    per_image = bytes_per_image(known) or known[batch] // batch
    return batch + (limit - known[batch]) // per_image


def measure_largest_batch(settings: Settings) -> Result:
    """Returns how many images a step can take, and the memory for one more of them."""
    limit = device_bytes("bytes_limit")
    if limit is None:
        raise LeftOutError("this device's memory has no limit that JAX knows of: run it on a GPU")
    figures = {}
    for name in ("aftrans", "naive"):
        trials = {
            batch: attempt(name, settings, batch)[1].get("executable_bytes")
            for batch in (settings.batch, 2 * settings.batch)
        }
        known = {batch: size for batch, size in trials.items() if size is not None}
        figures[f"{name}, one more image"] = Figure(bytes_per_image(known) or 0, "bytes")

        def fits(batch: int, name: str = name) -> bool:
            return attempt(name, settings, batch)[0] is not None

        count = largest(fits, guess_batch(known, limit))
        figures[f"{name}, largest batch"] = Figure(count, "images")
    pair = (figures[f"{name}, largest batch"] for name in ("aftrans", "naive"))
    return Result(figures | {"aftrans / naive, largest batch": ratio(*pair)}, settings.resolved())
