"""Where the demo's time goes: starting, compiling, waiting for data, steps, evaluation.

python -m benchmarks.demo --output=benchmarks/results/demo_profile_cpu.json
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import jax
import psutil

from aftrans_jax.configs.demo import get_config
from aftrans_jax.experiment.parts import build
from aftrans_jax.training.sharding import replicate
from benchmarks.settings import save

_Result = TypeVar("_Result")


def timed(call: Callable[[], _Result]) -> tuple[_Result, float]:
    """Returns what a call returns, once it is there, and the seconds it took."""
    began = time.perf_counter()
    result = jax.block_until_ready(call())
    return result, time.perf_counter() - began


def profile(num_steps: int) -> dict[str, float]:
    """Returns seconds by part, in the order in which a run goes through them."""
    seconds = {"start and imports": time.time() - psutil.Process().create_time()}
    experiment, seconds["build: drawing lists, weights"] = timed(lambda: build(get_config()))
    batches = experiment.train_batches(0)
    batch, seconds["first batch: drawing birds"] = timed(lambda: next(batches))
    state = replicate(experiment.state, experiment.mesh)  # as a run does
    (state, _), seconds["compiling the step, first step"] = timed(
        lambda state=state: experiment.train_step(state, batch)
    )
    waiting = stepping = 0.0
    for _ in range(num_steps):
        batch, wait = timed(lambda: next(batches))
        (state, _), step = timed(
            lambda state=state, batch=batch: experiment.train_step(state, batch)
        )
        waiting, stepping = waiting + wait, stepping + step
    seconds[f"waiting for {num_steps} batches"] = waiting
    seconds[f"{num_steps} steps"] = stepping
    _, both = timed(lambda: experiment.evaluate["test"](state).scores)
    _, again = timed(lambda: experiment.evaluate["test"](state).scores)
    seconds["compiling the evaluation, drawing test birds"] = both - again
    seconds["evaluation"] = again
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=100, help="of the demo's 400")
    parser.add_argument("--output", type=Path, required=True, help="JSON to write")
    args = parser.parse_args()
    seconds = profile(args.steps)
    for name, value in seconds.items():
        print(f"{name:48} {value:8.2f} s")
    save(args.output, {"num_steps": args.steps, "seconds": seconds})


if __name__ == "__main__":
    main()
