"""One training step: AFTrans beside two plain ViT steps and beside the path that stores all maps.

    python -m benchmarks.step --batch=12,48 --largest-batch --output=benchmarks/results/NAME.json
    python -m benchmarks.step --variant=ti16 --image-size=112 --batch=2 --steps=3 --output=x.json

Random weights and pixels, no loader. Where memory runs out, a model has no time. The JSON is
written after each batch size, so a run that is cut off leaves what it had.
"""

import argparse
import gc
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from aftrans_jax.config import Config
from aftrans_jax.training.precision import PRECISIONS
from benchmarks.cases import CASES, Case, Step, case_flops
from benchmarks.settings import add_settings, batch_sizes, save, settings
from benchmarks.timing import (
    device_bytes,
    is_out_of_memory,
    largest,
    take_turns,
    utilisation,
)

DEFAULT_CASES = ("vit_local", "vit_global", "aftrans", "aftrans_every_token", "naive")
Results = Mapping[str, Mapping[str, Any]]


class Trial(NamedTuple):
    """A step that ran, None where memory ran out, and what is known of it all the same."""

    step: Step | None
    known: dict[str, Any]


def attempt(case: Case, config: Config, batch_size: int) -> Trial:
    """Returns a step after its first call, with its compilation's time and account of memory."""
    gc.collect()  # an earlier step's arrays, which its error may still have held
    known: dict[str, Any] = {}
    began = time.perf_counter()
    try:
        step = Step(case, config, batch_size)
        known["executable_bytes"] = step.executable_bytes
        known["preparation_s"] = round(time.perf_counter() - began, 1)
        _, metrics = jax.block_until_ready(step())
    except jax.errors.JaxRuntimeError as error:
        if is_out_of_memory(error):
            return Trial(None, known)
        raise
    assert np.isfinite(metrics["loss"].total), "the loss is not finite"
    return Trial(step, known)


def measure(
    names: Sequence[str], config: Config, batch_size: int, *, num_calls: int, num_warm_up: int
) -> dict[str, dict[str, Any]]:
    """Returns time, throughput, memory and utilisation of each case that fits, at one batch size.

    Utilisation counts the FLOP that the case needs, so the shortcut's savings do not flatter it;
    `model_flop_utilisation` counts those of the model as published.
    """
    dtype = PRECISIONS[config.train.precision]().dtype.name
    steps, results = {}, {}
    for name in names:
        before = device_bytes("peak_bytes_in_use")
        step, known = attempt(CASES[name], config, batch_size)
        peak = device_bytes("peak_bytes_in_use")
        results[name] = known | {
            "out_of_memory": step is None,
            # Of the process: nothing is known of a step that needs less than one before.
            "device_peak_bytes": peak if peak != before else None,
        }
        if step is not None:
            steps[name] = step
    timings = take_turns(steps, num_calls=num_calls, num_warm_up=num_warm_up)
    for name, timing in timings.items():
        case, milliseconds = CASES[name], timing.median_ms
        needed = 3 * batch_size * case_flops(case, config)
        whole = 3 * batch_size * case_flops(case._replace(every_token=True), config)
        results[name] |= {
            **timing._asdict(),
            "images_per_second": round(1000 * batch_size / milliseconds, 2),
            "executable_bytes_per_image": results[name]["executable_bytes"] // batch_size,
            "gflop_per_image": round(needed / batch_size / 1e9, 2),
            "utilisation": utilisation(needed, milliseconds, dtype),
            "model_flop_utilisation": utilisation(whole, milliseconds, dtype),
        }
    return results


def ratios(results: Results) -> dict[str, float]:
    """Returns P1 and P2 of PERFORMANCE as far as their parts were measured.

    Two plain steps are the yardstick of P1; speed-up and memory of P2 are against "naive".
    """
    ran = {name: result for name, result in results.items() if not result["out_of_memory"]}
    pairs = {}
    for name in sorted(ran.keys() & {"aftrans", "aftrans_every_token"}):
        milliseconds = ran[name]["median_ms"]
        if ran.keys() >= {"vit_local", "vit_global"}:
            plain = ran["vit_local"]["median_ms"] + ran["vit_global"]["median_ms"]
            pairs[f"{name}/two_plain_steps"] = milliseconds / plain
        if "naive" in ran:
            pairs[f"naive/{name}, time"] = ran["naive"]["median_ms"] / milliseconds
        naive_bytes = results.get("naive", {}).get("executable_bytes")  # known if it did not fit
        if naive_bytes is not None:
            pairs[f"{name}/naive, memory"] = ran[name]["executable_bytes"] / naive_bytes
    return {name: round(value, 4) for name, value in pairs.items()}


def known_bytes(measured: Mapping[int, Results], name: str) -> dict[int, int]:
    """Returns what a case's executable holds at each batch size that it was compiled for."""
    key = "executable_bytes"
    return {
        batch: results[name][key]
        for batch, results in measured.items()
        if key in results.get(name, {})
    }


def bytes_per_image(known: Mapping[int, int]) -> int | None:
    """Returns what one more image takes, by the smallest and the largest batch, if two."""
    low, high = min(known, default=0), max(known, default=0)
    return (known[high] - known[low]) // (high - low) if low < high else None


def guess_batch(known: Mapping[int, int], limit: int) -> int:
    """Returns the batch that would fill the memory, by what smaller ones took."""
    if not known:
        return 1
    batch = max(known)
    per_image = bytes_per_image(known) or known[batch] // batch
    return batch + (limit - known[batch]) // per_image


def largest_batch(name: str, config: Config, measured: Mapping[int, Results]) -> int | None:
    """Returns how many images a step of a case can take, None where the memory has no limit."""
    limit = device_bytes("bytes_limit")
    if limit is None:
        return None
    first = guess_batch(known_bytes(measured, name), limit)
    return largest(lambda batch: attempt(CASES[name], config, batch).step is not None, first)


def _row(name: str, batch: int, result: Mapping[str, Any]) -> str:
    if result["out_of_memory"]:
        return f"{name:20} {batch:5}  out of memory"
    shown = result["model_flop_utilisation"]
    return (
        f"{name:20} {batch:5} {result['median_ms']:10.2f} {result['images_per_second']:10.2f} "
        f"{result['executable_bytes_per_image'] / 1e9:12.3f} "
        + ("         -" if shown is None else f"{shown:10.1%}")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add_settings(parser, batch="12,48")
    parser.add_argument("--models", default=",".join(DEFAULT_CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--largest-batch", action="store_true", help="find it; on a GPU alone")
    args = parser.parse_args()
    config, content = settings(args)
    names = args.models.split(",")
    counts = {"num_calls": args.steps, "num_warm_up": args.warmup}
    print(f"{'model':20} batch    ms/step   images/s     GB/image        MFU")
    measured: dict[int, Results] = {}
    found: dict[str, Any] = {"settings": content, "results": measured, "ratios": {}}
    for batch in batch_sizes(args):
        measured[batch] = measure(names, config, batch, **counts)
        for name, result in measured[batch].items():
            print(_row(name, batch, result), flush=True)
        found["ratios"][batch] = ratios(measured[batch])
        for pair, value in found["ratios"][batch].items():
            print(f"    {pair} = {value}", flush=True)
        found["bytes_per_image"] = {
            name: bytes_per_image(known_bytes(measured, name)) for name in names
        }
        save(args.output, found)
    if args.largest_batch:
        found["largest_batch"] = {}
        for name in [name for name in ("aftrans", "naive") if name in names]:
            found["largest_batch"][name] = largest_batch(name, config, measured)
            print(f"largest batch of {name}: {found['largest_batch'][name]}", flush=True)
            save(args.output, found)


if __name__ == "__main__":
    main()
