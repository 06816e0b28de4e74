"""Ways to run the step that could be settings: what each costs or saves, beside the step as it is.

    python -m benchmarks.options --batch=48 --output=benchmarks/results/NAME.json
    python -m benchmarks.options --variant=ti16 --image-size=224 --batch=4 --steps=9 \
        --precision=float32 --output=x.json

One product for queries, keys and values; one compiled block for all layers; what is kept for the
backward pass; how patches are embedded; the residual stream's type; dropout's generator; flags of
XLA. All take turns in one process. ARCHITECTURE.md says what is kept.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from aftrans_jax.config import Config
from benchmarks.cases import CASES, Step
from benchmarks.settings import add_settings, batch_sizes, save, settings
from benchmarks.timing import take_turns

DROPOUT = MappingProxyType({"model.dropout": 0.1})  # the rate that ViTs are pretrained with


class Option(NamedTuple):
    """A way to run the step, and the one it is compared with.

    Choice: one thing differs between the two.
    """

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
                *("fused_product", "scanned", "remat", "remat_but_products"),
                *("convolution", "float32_residual"),
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


def prepare(option: Option, config: Config, batch: int) -> tuple[Step, float]:
    """Returns a compiled step and the seconds that it took to trace and compile."""
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(option.changes)
    began = time.perf_counter()
    step = Step(
        CASES[option.case],
        config,
        batch,
        generator=option.generator,
        compiler_options=option.flags,
    )
    return step, time.perf_counter() - began


def measure(
    chosen: Mapping[str, Option], config: Config, batch: int, *, num_calls: int, num_warm_up: int
) -> dict[str, dict[str, Any]]:
    """Returns time, memory and compilation of each option, and their ratios to what it stands for.

    An option that does not compile, as a flag that this XLA does not know, has the reason alone.
    """
    steps, results = {}, {}
    for name, option in chosen.items():
        try:
            steps[name], seconds = prepare(option, config, batch)
        except jax.errors.JaxRuntimeError as error:
            results[name] = {"error": str(error).split("\n")[0]}
            continue
        results[name] = {
            "preparation_s": round(seconds, 1),
            "executable_bytes": steps[name].executable_bytes,
        }
    timings = take_turns(steps, num_calls=num_calls, num_warm_up=num_warm_up)
    for name, timing in timings.items():
        results[name] |= timing._asdict()
    for name in timings:
        against = results[chosen[name].against]
        results[name]["against"] = chosen[name].against
        if "median_ms" in against:
            pairs = {"time_ratio": "median_ms", "memory_ratio": "executable_bytes"}
            for ratio, key in pairs.items():
                results[name][ratio] = round(results[name][key] / against[key], 4)
    return results


def rows(results: Mapping[str, Mapping[str, Any]], batch: int) -> Sequence[str]:
    lines = []
    for name, result in results.items():
        start = f"{name:44} {batch:5}"
        if "error" in result:
            lines.append(f"{start}  {result['error']}")
            continue
        lines.append(
            f"{start} {result['median_ms']:10.2f} {result['executable_bytes'] / 1e9:9.3f} "
            f"{result['preparation_s']:9.1f} {result.get('time_ratio', np.nan):7.3f} "
            f"{result.get('memory_ratio', np.nan):7.3f}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add_settings(parser, batch="48")
    parser.add_argument("--only", help="names, separated by semicolons; all by default")
    args = parser.parse_args()
    config, content = settings(args)
    chosen = options(content["dtype"], jax.default_backend())
    if args.only:
        unknown = set(args.only.split(";")) - chosen.keys()
        if unknown:
            sys.exit(f"error: --only: {sorted(unknown)}: expected some of {list(chosen)}")
        wanted = {name: chosen[name] for name in args.only.split(";")}
        chosen = {option.against: chosen[option.against] for option in wanted.values()} | wanted
    print(f"{'option':44} batch    ms/step        GB  compile s    time  memory")
    results = {}
    for batch in batch_sizes(args):
        results[batch] = measure(
            chosen, config, batch, num_calls=args.steps, num_warm_up=args.warmup
        )
        print("\n".join(rows(results[batch], batch)), flush=True)
        save(args.output, {"settings": content, "results": results})


if __name__ == "__main__":
    main()
