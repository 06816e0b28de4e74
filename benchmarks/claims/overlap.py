"""Whether loading hides behind the step: steps fed by the loader, and on a constant batch.

A step is a computation, which competes with the loader for the cores, or it sleeps, which stands in
for an accelerator. The next batch is fetched while a step runs, as in training.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice, repeat
from typing import Any

import jax
import jax.numpy as jnp

from aftrans_jax.data.examples import Source
from aftrans_jax.training.sharding import device_mesh, to_devices
from benchmarks.claims.readers import IMAGE_SIZE, our_batches
from benchmarks.harness.figures import Figure, ratio, spread

NUM_WARM_UP = 3
NUM_STEPS = 12
STEPS_IN_BATCHES = (0.5, 1.5, 3.0)  # duration of a step, in loading times of a batch

Start = Callable[[Any], Any]
Wait = Callable[[Any], Any]


def computation(seconds: float, batch: Any) -> tuple[Start, Wait]:
    """Returns a jitted step that computes for about that long, as start and wait."""
    matrix = jnp.eye(512) / 2

    @partial(jax.jit, static_argnums=1)
    def step(image: Any, times: int) -> Any:
        start = matrix + image.mean()
        return jax.lax.fori_loop(0, times, lambda _, x: jnp.tanh(x @ matrix), start)

    def run(times: int) -> float:
        began = time.perf_counter()
        jax.block_until_ready(step(batch["image"], times))
        return time.perf_counter() - began

    for times in (8, 108):
        run(times)  # compiles
    one = max(min(run(108) for _ in range(3)) - min(run(8) for _ in range(3)), 1e-3) / 100
    times = max(1, round(seconds / one))
    return lambda batch: step(batch["image"], times), jax.block_until_ready


def sleep(seconds: float, pool: ThreadPoolExecutor) -> tuple[Start, Wait]:
    """Returns a step that takes no processor time, as start and wait."""
    return lambda _: pool.submit(time.sleep, seconds), lambda running: running.result()


def step_ms(batches: Iterator[Any], start: Start, wait: Wait) -> float:
    """Returns the mean time of a step in ms; the next batch is fetched while it runs."""
    batch = None
    for batch in islice(batches, NUM_WARM_UP):
        wait(start(batch))
    began = time.perf_counter()
    for _ in range(NUM_STEPS):
        running = start(batch)
        batch = next(batches)
        wait(running)
    return 1000 * (time.perf_counter() - began) / NUM_STEPS


def overlap(
    source: Source, num_threads: int, batch_seconds: float, num_turns: int
) -> dict[str, Figure]:
    """Returns the times of steps of several lengths, fed, over those on a constant batch."""
    mesh = device_mesh()

    def fed() -> Iterator[Any]:
        return to_devices(our_batches(source, IMAGE_SIZE, num_threads), mesh)

    batch = next(fed())
    figures = {}
    with ThreadPoolExecutor(1) as pool:
        for length in STEPS_IN_BATCHES:
            seconds = length * batch_seconds
            steps = {"computation": computation(seconds, batch), "sleep": sleep(seconds, pool)}
            for kind, step in steps.items():
                turns = [
                    (step_ms(fed(), *step), step_ms(repeat(batch), *step)) for _ in range(num_turns)
                ]
                loaded, resident = (spread(times, "ms") for times in zip(*turns, strict=True))
                name = f"step of {length} batches, {kind}"
                figures |= {f"{name}, fed": loaded, f"{name}, resident": resident}
                figures[f"{name}, fed / resident"] = ratio(loaded, resident)
    return figures
