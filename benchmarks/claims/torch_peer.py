"""Our training step beside PyTorch's: eager with all maps stored, and compiled without any.

Each side has a process of its own, on the same cores. On a CPU the sides take turns; on a GPU each
has the card to itself, one after another. JAX chooses the device and the type, PyTorch follows.
"eager" stores all maps and multiplies them as TransFG does; "compiled" is two plain ViT passes.
Memory is the allocator's peak on a GPU; on a CPU, the growth of the process during a step, and what
stays from step to step. Libraries and compilers do not count.
"""

import importlib.util
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax

from aftrans_jax.model.variants import VARIANTS
from benchmarks.harness.errors import LeftOutError
from benchmarks.harness.figures import Figure, Result, ratio, take_turns
from benchmarks.harness.memory import device_bytes, forget_peak, is_out_of_memory, status_bytes
from benchmarks.harness.worker import Talk, Worker
from benchmarks.models.cases import CASES, NUM_CLASSES, case_flops, flops
from benchmarks.models.training import Step
from benchmarks.settings import Settings

PEERS = ("eager", "compiled")
BUSY = 0.7  # load of other jobs; at 4 on two cores, eager steps took 8 s instead of 0.13


class Side(NamedTuple):
    """A step that ran once.

    step: runs it again and awaits it.
    peak_bytes: the most memory that was held on the device, None where it is not recorded.
    state_bytes: the part of it that stays from step to step, including the batch.
    known: details to report beside time and memory.
    """

    step: Callable[[], Any]
    peak_bytes: Callable[[], int | None]
    state_bytes: int
    known: dict[str, Any]


def serve(make: Callable[..., Side], args: tuple[Any, ...], talk: Talk) -> int | None:
    """Runs a step as often as asked, and returns its memory, None where it ran out."""
    try:
        side = make(*args)
    except RuntimeError as error:  # PyTorch's and JAX's errors are of this type
        if not is_out_of_memory(error):
            raise
        return None
    at_rest = forget_peak()
    go_on = talk(side.known)
    while go_on:
        side.step()
        go_on = talk(None)
    peak = side.peak_bytes()
    return status_bytes("VmHWM") - at_rest + side.state_bytes if peak is None else peak


def ours(settings: Settings) -> Side:
    """Returns AFTrans's own step, as the benchmark `step` times it."""
    began = time.perf_counter()
    config = settings.config()
    known: dict[str, Any] = dict(settings.resolved())
    step = Step(CASES["aftrans"], config, settings.batch)
    state, _ = jax.block_until_ready(step())
    state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    del state  # donated to the next step
    known |= {
        "preparation_s": round(time.perf_counter() - began, 1),
        "gflop_per_image": round(3 * case_flops(CASES["aftrans"], config) / 1e9, 2),
        "executable_bytes": step.executable_bytes,
    }
    peak_bytes = partial(device_bytes, "peak_bytes_in_use")
    pixels = 3 * settings.batch * settings.image_size**2
    return Side(lambda: jax.block_until_ready(step()), peak_bytes, state_bytes + pixels, known)


def theirs(settings: Settings, name: str, dtype: str) -> Side:
    """Returns a step of PyTorch's; on a GPU in float32 with TF32 products, as in JAX."""
    import torch

    from benchmarks.pytorch import model, step

    torch.set_num_threads(settings.threads)
    on_gpu = settings.backend == "gpu"
    if on_gpu and not torch.cuda.is_available():
        raise LeftOutError(
            f"PyTorch {torch.__version__} finds no CUDA device: install a CUDA build"
        )
    if on_gpu:
        torch.set_float32_matmul_precision("high")
    variant = VARIANTS[settings.variant]
    sides = (settings.image_size, settings.local_size)
    sizes = model.Sizes(variant, NUM_CLASSES, *sides, settings.stride)
    began = time.perf_counter()
    device = "cuda" if on_gpu else "cpu"
    run = step.Step(name, sizes, settings.batch, dtype=dtype, device=device)
    needed = 3 * sum(flops(variant, side, settings.stride) for side in sides)
    needed += step.chain_flops(sizes) if name == "eager" else 0
    known = {
        "preparation_s": round(time.perf_counter() - began, 1),
        "gflop_per_image": round(needed / 1e9, 2),
        "note": run.note,
    }
    if not on_gpu:
        return Side(run, lambda: None, run.state_bytes(), known)
    torch.cuda.reset_peak_memory_stats()
    return Side(run, torch.cuda.max_memory_allocated, run.state_bytes(), known)


def start(name: str, *args: Any, details: dict[str, Any]) -> Worker | None:
    """Returns a side's process after its first step, None where memory ran out."""
    make = ours if name == "ours" else theirs
    worker = Worker("benchmarks.claims.torch_peer:serve", make, args)
    message = worker.listen()
    details[name] = {"out_of_memory": message.is_last} | (message.value or {})
    return None if message.is_last else worker


def run_together(workers: Mapping[str, Worker | None], settings: Settings) -> dict[str, Figure]:
    """Returns time, speed and memory of the sides that fit, taking turns, and ends them."""
    fit = {name: worker for name, worker in workers.items() if worker is not None}

    def step(worker: Worker) -> None:
        worker.answer(True)
        worker.listen()

    found = {}
    calls = {name: partial(step, worker) for name, worker in fit.items()}
    for name, timing in take_turns(calls, settings).items():
        found[f"{name}, time"] = timing
        found[f"{name}, speed"] = timing.rate(settings.batch, "images/s")
        fit[name].answer(False)
        found[f"{name}, memory"] = Figure(fit[name].listen().value, "bytes")
    return found


def measure(settings: Settings) -> Result:
    """Returns the figures of all sides, and ours over each of PyTorch's."""
    if importlib.util.find_spec("torch") is None:
        raise LeftOutError(
            "PyTorch is not installed here: pip install torch, beside JAX, in a new venv"
        )
    if settings.precision == "float16":
        raise LeftOutError(
            "float16 scales the loss, which the peer does not: take bfloat16 or float32"
        )
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[: settings.threads])
    details: dict[str, Any] = {"load_average_before": os.getloadavg()[0]}
    if details["load_average_before"] > BUSY:
        print("note: other jobs run here, which slow PyTorch's threads far more than XLA's")
    settings_there = settings.detached()
    workers = {"ours": start("ours", settings_there, details=details)}
    if workers["ours"] is None:
        raise LeftOutError(f"our step does not fit the memory at batch {settings.batch}: take less")
    figures: dict[str, Figure] = {}
    for name in PEERS:
        if settings.backend != "cpu":  # turns need all sides in memory at once
            figures |= run_together(workers, settings)
            workers = {}
        workers[name] = start(name, settings_there, name, details["ours"]["dtype"], details=details)
    figures |= run_together(workers, settings)
    return Result(figures | ratios(figures), details)


def ratios(figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """Returns ours over each of PyTorch's: speed, where more is better, and memory, where less."""
    return {
        f"ours / {name}, {what}": ratio(figures[f"ours, {what}"], figures[f"{name}, {what}"])
        for name in PEERS
        for what in ("speed", "memory")
        if f"{name}, {what}" in figures
    }
