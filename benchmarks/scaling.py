"""What devices exchange in one training step, counted in the compiled program, and a paper model.

    python -m benchmarks.scaling --output=benchmarks/results/NAME.json

The demo's step is compiled for 1, 2 and 4 fake CPU devices and for two processes over loopback.
All of them share the host's cores, so their throughput says little of devices of their own. The
exchange of one device is with itself.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from aftrans_jax.config import base_config
from aftrans_jax.configs.demo import get_config
from aftrans_jax.experiment.parts import build
from benchmarks.cases import CASES
from benchmarks.hlo import Collective, collectives, num_loops
from benchmarks.settings import save
from benchmarks.timing import take_turns


class Setup(NamedTuple):
    """How many processes, and how many fake devices each of them has."""

    processes: int
    devices: int


SETUPS: Mapping[str, Setup] = MappingProxyType(
    {
        "1 device": Setup(1, 1),
        "2 devices": Setup(1, 2),
        "4 devices": Setup(1, 4),
        "2 processes": Setup(2, 1),
    }
)
AVERAGES_BYTES = 4 * 4  # total and count of loss and accuracy; equal counts may become one
NUM_WARM_UP, TIMEOUT_S = 2, 240
SHARED_CORES = "throughput: all devices share this host's cores, so it says little of scaling"
MODEL = "a model on paper, NOT a measurement"
CHIPS = tuple(2**power for power in range(9))  # 1 to 256
# 48 images of 1.37 ms, the floor of PERFORMANCE on one H100: the shorter the step, the more the
# exchange weighs.
STEP_MS = 65.8
LINK_GB_PER_S = 50.0  # 400 Gbit/s, one InfiniBand port a card
WORKER = "import json, sys; from benchmarks.scaling import work; work(**json.loads(sys.argv[1]))"


def work(address: str, num_processes: int, index: int, batch: int, num_calls: int) -> None:
    """Prints as JSON what one process finds; `batch` is a device's."""
    if num_processes > 1:
        jax.distributed.initialize(address, num_processes, index)
    config = get_config()
    config.train.batch_size = batch * jax.device_count()
    experiment = build(config)
    state, rows = experiment.state, next(experiment.train_batches(0))
    num_params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    compiled = cast(jax.stages.Wrapped, experiment.train_step).lower(state, rows).compile()

    def step() -> Any:
        nonlocal state
        state, metrics = compiled(state, rows)
        return state, metrics

    timing = take_turns({"step": step}, num_calls=num_calls, num_warm_up=NUM_WARM_UP)["step"]
    hlo = compiled.as_text() or ""
    result = {
        "num_loops": num_loops(hlo),
        **account(collectives(hlo), num_params),
        **timing._asdict(),
        "images_per_second_per_device": round(1000 * batch / timing.median_ms, 2),
    }
    print(json.dumps(result))


def account(found: Sequence[Collective], num_params: int) -> dict[str, Any]:
    """Returns collectives by kind, and whether they are one exchange of float32 gradients.

    Nothing but the gradients and the averages may be in it, and nothing within a loop.
    """
    kinds = {kind: [c.num_bytes for c in found if c.kind == kind] for kind, *_ in found}
    gradient_bytes = 4 * num_params
    other_bytes = sum(c.num_bytes for c in found) - gradient_bytes
    num_in_loops = sum(c.in_loop for c in found)
    return {
        "collectives": {
            kind: {"count": len(sizes), "bytes": sum(sizes)} for kind, sizes in kinds.items()
        },
        "num_collectives_in_loops": num_in_loops,
        "num_params": num_params,
        "gradient_bytes": gradient_bytes,
        "other_bytes": other_bytes,
        "one_exchange": kinds.keys() == {"all-reduce"}
        and num_in_loops == 0
        and 0 < other_bytes <= AVERAGES_BYTES,
    }


def measure(setup: Setup, *, batch: int, num_calls: int) -> dict[str, Any]:
    """Returns what the first of a setup's processes finds.

    Raises:
      RuntimeError: a process failed.
      subprocess.TimeoutExpired: it took too long.
    """
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count="
    options = {
        "cwd": Path(__file__).parents[1],
        "env": os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{flags}{setup.devices}"},
    }
    task = {
        "address": f"127.0.0.1:{free_port()}",
        "num_processes": setup.processes,
        "batch": batch,
        "num_calls": num_calls,
    }

    def process(index: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", WORKER, json.dumps(task | {"index": index})]
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, **options)

    with ThreadPoolExecutor(setup.processes) as pool:
        ended = list(pool.map(process, range(setup.processes)))
    for index, one in enumerate(ended):
        if one.returncode != 0:
            raise RuntimeError(
                f"process {index} of {setup} ended with {one.returncode}: expected 0. It said "
                f"last:\n{one.stderr[-2000:]}"
            )
    return setup._asdict() | json.loads(ended[0].stdout.splitlines()[-1])


def free_port() -> int:
    """Returns a port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ring_ms(num_bytes: int, chips: int, gb_per_s: float) -> float:
    """Returns how long a ring all-reduce takes by bandwidth alone, all links busy both ways."""
    return 2 * (chips - 1) / chips * num_bytes / (gb_per_s * 1e9) * 1000


def weak_scaling(num_bytes: int, step_ms: float, gb_per_s: float) -> list[dict[str, float]]:
    """Returns the share of its own speed that each of many chips keeps, by the model.

    The exchange follows the step, or all of it hides behind the step.
    """
    rows = []
    for chips in CHIPS:
        exchange = ring_ms(num_bytes, chips, gb_per_s)
        rows.append(
            {
                "chips": chips,
                "exchange_ms": round(exchange, 3),
                "efficiency_no_overlap": round(step_ms / (step_ms + exchange), 4),
                "efficiency_full_overlap": round(step_ms / max(step_ms, exchange), 4),
            }
        )
    return rows


def b16_params() -> int:
    """Returns the number of parameters of AFTrans on ViT-B/16 at 448 px, for CUB's classes."""
    config = base_config()
    model = CASES["aftrans"].make(config, jnp.dtype("float32"))
    size = config.data.image_size
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.uint8)
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def _show(results: Mapping[str, Mapping[str, Any]]) -> None:
    print("in the program  kind         count      bytes  gradients  other  in loops  one exchange")
    for name, result in results.items():
        verdict = "yes" if result["one_exchange"] else "NO"
        for kind, total in result["collectives"].items():
            print(
                f"{name:15} {kind:12} {total['count']:5} {total['bytes']:10} "
                f"{result['gradient_bytes']:10} {result['other_bytes']:6} "
                f"{result['num_collectives_in_loops']:9}  {verdict}"
            )
    print(f"\n{SHARED_CORES}\n{'':15}   ms/step  images/s per device")
    for name, result in results.items():
        speed = result["images_per_second_per_device"]
        print(f"{name:15} {result['median_ms']:9.1f} {speed:20.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--batch", type=int, default=4, help="images a device")
    parser.add_argument("--steps", type=int, default=10, help="that are timed, at least 2")
    parser.add_argument("--step-ms", type=float, default=STEP_MS, help="of the model's step")
    parser.add_argument("--link-gb-per-s", type=float, default=LINK_GB_PER_S, help="of the model")
    parser.add_argument("--output", type=Path, required=True, help="JSON to write")
    args = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    counted = partial(measure, batch=args.batch, num_calls=args.steps)
    results = {name: counted(setup) for name, setup in SETUPS.items()}
    _show(results)
    num_bytes = 4 * b16_params() + AVERAGES_BYTES
    link = {"step_ms": args.step_ms, "link_gb_per_s": args.link_gb_per_s}
    rows = weak_scaling(num_bytes, args.step_ms, args.link_gb_per_s)
    print(
        f"\n{MODEL}: AFTrans on ViT-B/16, {num_bytes / 1e6:.1f} MB a step of {args.step_ms} ms, "
        f"ring over {args.link_gb_per_s} GB/s\nchips  exchange ms  no overlap  full overlap"
    )
    for row in rows:
        none, full = row["efficiency_no_overlap"], row["efficiency_full_overlap"]
        print(f"{row['chips']:5} {row['exchange_ms']:12.2f} {none:11.1%} {full:13.1%}")
    content = {
        "settings": {"config": "configs/demo.py", "batch_per_device": args.batch}
        | {"num_calls": args.steps, "num_warm_up": NUM_WARM_UP}
        | {"xla_flags": os.environ.get("XLA_FLAGS", "")},
        "note": SHARED_CORES,
        "results": results,
        "weak_scaling": {"kind": MODEL, "num_bytes": num_bytes, **link, "rows": rows},
    }
    save(args.output, content)


if __name__ == "__main__":
    main()
