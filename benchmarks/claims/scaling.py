"""What devices exchange in one training step, counted in the compiled program, and a model of it.

The demo's step is compiled for 1, 2 and 4 fake CPU devices and for two processes over loopback.
All of them share the host's cores, so their throughput says little about separate devices. The
exchange of one device is with itself.
"""

import os
import socket
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from aftrans_jax.config import recipe_config
from aftrans_jax.configs.demo import get_config
from aftrans_jax.experiment.auto_settings import resolve_auto
from aftrans_jax.experiment.build import build
from benchmarks.harness.figures import Figure, Result, take_turns
from benchmarks.harness.hlo import Collective, collectives, num_loops
from benchmarks.harness.worker import Talk, Worker
from benchmarks.models.cases import CASES
from benchmarks.models.training import param_shapes
from benchmarks.settings import Settings


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
# Totals and counts of loss, accuracy and both branches' losses; equal counts may become one.
AVERAGES_BYTES = 8 * 4
TIMEOUT_S = 240
SHARED_CORES = "speed: all devices share this host's cores, so it says little of scaling"
MODEL = "a model on paper, NOT a measurement"
CHIPS = tuple(2**power for power in range(9))  # 1 to 256
# 48 images of 1.37 ms, the arithmetic floor on one H100: the shorter the step, the larger the
# exchange's part.
STEP_MS = 65.8
LINK_GB_PER_S = 50.0  # 400 Gbit/s, one InfiniBand port a card


def work(
    settings: Settings, address: str, num_processes: int, index: int, talk: Talk
) -> tuple[dict[str, Figure], dict[str, Any]]:
    """Returns the figures of the step in one process, and an account of its exchange."""
    del talk
    if num_processes > 1:
        jax.distributed.initialize(address, num_processes, index)
    config = get_config()
    config.train.batch_size = settings.batch * jax.device_count()
    experiment = build(config)
    state = experiment.state
    rows = next(experiment.train_batches(0))
    num_params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    compiled = experiment.train_step.lower(state, rows).compile()

    def step() -> Any:
        nonlocal state
        state, metrics = compiled(state, rows, experiment.train_step.seed)
        return state, metrics

    timing = take_turns({"step": step}, settings)["step"]
    hlo = compiled.as_text() or ""
    known = {"num_loops": num_loops(hlo), **account(collectives(hlo), num_params)}
    figures = {"time": timing, "speed": timing.rate(settings.batch, "images/s a device")}
    return figures, known


def account(found: Sequence[Collective], num_params: int) -> dict[str, Any]:
    """Returns collectives by kind, and whether they are one exchange of float32 gradients.

    It may hold nothing but the gradients and the averages, and be in no loop.
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


def run_setup(setup: Setup, settings: Settings) -> tuple[dict[str, Figure], dict[str, Any]]:
    """Returns the figures and the account of a setup's first process.

    Raises:
      WorkerError: a process failed, or took too long.
    """
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count="
    environment = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{flags}{setup.devices}"}
    address = f"127.0.0.1:{free_port()}"
    workers = [
        Worker(
            "benchmarks.claims.scaling:work",
            *(settings.detached(), address, setup.processes, index),
            environment=environment,
        )
        for index in range(setup.processes)
    ]
    try:
        found = [worker.result(TIMEOUT_S) for worker in workers]
        return found[0]
    finally:
        for worker in workers:
            worker.end()


def free_port() -> int:
    """Returns a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ring_ms(num_bytes: int, chips: int, gb_per_s: float) -> float:
    """Returns how long a ring all-reduce takes by bandwidth alone, all links busy both ways."""
    return 2 * (chips - 1) / chips * num_bytes / (gb_per_s * 1e9) * 1000


def weak_scaling(num_bytes: int, step_ms: float, gb_per_s: float) -> list[dict[str, float]]:
    """Returns the fraction of its own speed that each of many chips keeps, by the model.

    The exchange follows the step, or all of it hides behind the step.
    """
    exchanges = {chips: ring_ms(num_bytes, chips, gb_per_s) for chips in CHIPS}
    return [
        {
            "chips": chips,
            "exchange_ms": round(exchange, 3),
            "efficiency_no_overlap": round(step_ms / (step_ms + exchange), 4),
            "efficiency_full_overlap": round(step_ms / max(step_ms, exchange), 4),
        }
        for chips, exchange in exchanges.items()
    ]


def b16_params() -> int:
    """Returns the number of parameters of AFTrans on ViT-B/16 at 448 px, for CUB's classes."""
    config, _ = resolve_auto(recipe_config("recipe=paper"))
    model = CASES["aftrans"].make(config, jnp.dtype("float32"))
    return sum(leaf.size for leaf in jax.tree.leaves(param_shapes(model, config.data.image_size)))


def measure(settings: Settings) -> Result:
    """Returns what each setup's devices exchange and how fast they are, and the model."""
    figures = {}
    accounts = {}
    for name, setup in SETUPS.items():
        timed, accounts[name] = run_setup(setup, settings)
        figures |= {f"{name}, {what}": figure for what, figure in timed.items()}
        exchanged = sum(kind["bytes"] for kind in accounts[name]["collectives"].values())
        figures[f"{name}, exchanged"] = Figure(exchanged, "bytes a step")
        figures[f"{name}, beside gradients"] = Figure(accounts[name]["other_bytes"], "bytes a step")
    wrong = sum(not one["one_exchange"] for one in accounts.values())
    num_bytes = 4 * b16_params() + AVERAGES_BYTES
    details = {
        "config": "configs/demo.py",
        "note": SHARED_CORES,
        "setups": {name: SETUPS[name]._asdict() | one for name, one in accounts.items()},
        "weak_scaling": {
            **{"kind": MODEL, "num_bytes": num_bytes},
            **{"step_ms": STEP_MS, "link_gb_per_s": LINK_GB_PER_S},
            "rows": weak_scaling(num_bytes, STEP_MS, LINK_GB_PER_S),
        },
    }
    return Result({"setups without one exchange": Figure(wrong, "count")} | figures, details)
