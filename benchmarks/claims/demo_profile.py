"""The time that the demo takes: starting, compiling, waiting for data, steps, evaluation."""

import time
from collections.abc import Callable
from typing import TypeVar

import jax
import psutil

from aftrans_jax.configs.demo import get_config
from aftrans_jax.experiment.build import build
from aftrans_jax.training.sharding import replicate
from benchmarks.harness.figures import Figure, Result
from benchmarks.settings import Settings

_Result = TypeVar("_Result")
NUM_STEPS = 100


def timed(call: Callable[[], _Result]) -> tuple[_Result, float]:
    """Returns a call's result, once it is ready, and the seconds it took."""
    began = time.perf_counter()
    result = jax.block_until_ready(call())
    return result, time.perf_counter() - began


def measure(settings: Settings) -> Result:
    """Returns seconds by part, in the order in which a run goes through them, and their sum."""
    del settings  # the demo has its own
    seconds = profile(NUM_STEPS)
    num_steps = get_config().train.steps
    repeated = (f"waiting for {NUM_STEPS} batches", f"{NUM_STEPS} steps")
    whole = sum(
        value * (num_steps / NUM_STEPS if name in repeated else 1)
        for name, value in seconds.items()
    )
    figures = seconds | {"the demo, by its parts": whole}
    return Result({name: Figure(round(x, 2), "s") for name, x in figures.items()}, {})


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
        waiting = waiting + wait
        stepping = stepping + step
    seconds[f"waiting for {num_steps} batches"] = waiting
    seconds[f"{num_steps} steps"] = stepping
    _, both = timed(lambda: experiment.evaluator.evaluate(state, "test").scores)
    _, again = timed(lambda: experiment.evaluator.evaluate(state, "test").scores)
    seconds["compiling the evaluation, drawing test birds"] = both - again
    seconds["evaluation"] = again
    return seconds
