"""Ways to run the step that could be settings: what each costs or saves, beside the default step.

One product for queries, keys and values; one compiled block for all layers; the arrays stored for
the backward pass; how patches are embedded; the residual stream's type; dropout's generator; flags
of XLA. All take turns in one process. ARCHITECTURE.md says which are used.
"""

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax

from benchmarks.harness.figures import Figure, Result, ratio, take_turns
from benchmarks.models.cases import CASES
from benchmarks.models.training import Step
from benchmarks.settings import Settings

DROPOUT = MappingProxyType({"model.dropout": 0.1})  # the rate that ViTs are pretrained with


class Option(NamedTuple):
    """A way to run the step, and the one it is compared with."""

    case: str = "aftrans"
    changes: Mapping[str, Any] = MappingProxyType({})
    generator: str = "threefry2x32"
    flags: Mapping[str, Any] = MappingProxyType({})
    against: str = "aftrans"


OPTIONS: Mapping[str, Option] = MappingProxyType(
    {
        "aftrans": Option(),
        **{
            case: Option(case)
            for case in (
                "fused_product",
                "scanned",
                "remat",
                "remat_but_products",
                "convolution",
                "float32_residual",
            )
        },
        "dropout, threefry": Option(changes=DROPOUT),
        "dropout, rbg": Option(changes=DROPOUT, generator="rbg", against="dropout, threefry"),
    }
)
FLAGS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "cpu": {
            "xla_cpu_enable_fast_math": True,
            "xla_cpu_experimental_ynn_fusion_type": "",
        },
        "gpu": {
            "xla_gpu_enable_latency_hiding_scheduler": True,
            "xla_gpu_enable_triton_gemm": False,
            "xla_gpu_enable_command_buffer": "",
        },
        "tpu": {},
    }
)


def options(dtype: str, backend: str) -> dict[str, Option]:
    """Returns the options that make a difference in a type and on a backend."""
    same = {"float32_residual"} if dtype == "float32" else set()
    same |= {"convolution"} if backend == "tpu" else set()
    found = {name: option for name, option in OPTIONS.items() if name not in same}
    flags = FLAGS[backend].items()
    return found | {f"{name}={value!r}": Option(flags={name: value}) for name, value in flags}


def prepare(option: Option, settings: Settings) -> Step:
    """Returns the compiled step of an option."""
    config = settings.config()
    config.update_from_flattened_dict(option.changes)
    return Step(
        CASES[option.case],
        config,
        settings.batch,
        generator=option.generator,
        compiler_options=option.flags,
    )


def measure(settings: Settings) -> Result:
    """Returns time, memory and compilation of each option, and ratios to its alternative."""
    resolved = settings.resolved()
    known = options(resolved["dtype"], settings.backend)
    picked = settings.pick(known, known)
    names = dict.fromkeys([known[name].against for name in picked] + picked)
    figures, details = compare({name: known[name] for name in names}, settings)
    return Result(figures, resolved | details)


def compare(
    chosen: Mapping[str, Option], settings: Settings
) -> tuple[dict[str, Figure], dict[str, Any]]:
    """Returns figures of options that compile, and the reasons of others, such as unknown flags."""
    steps = {}
    figures = {}
    details = {}
    for name, option in chosen.items():
        began = time.perf_counter()
        try:
            step = steps[name] = prepare(option, settings)
        except jax.errors.JaxRuntimeError as error:
            details[name] = {"error": str(error).split("\n")[0]}
            continue
        figures[f"{name}, preparation"] = Figure(round(time.perf_counter() - began, 1), "s")
        figures[f"{name}, memory"] = Figure(step.executable_bytes, "bytes")
    timings = take_turns(steps, settings)
    figures |= {f"{name}, time": timing for name, timing in timings.items()}
    for name in timings:
        against = chosen[name].against
        for what in ("time", "memory"):
            if f"{against}, {what}" in figures:
                pair = figures[f"{name}, {what}"], figures[f"{against}, {what}"]
                figures[f"{name} / {against}, {what}"] = ratio(*pair)
    return figures, details
