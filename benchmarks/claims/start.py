"""Seconds that a user waits for the first line and the first step, with and without a cache.

Each start is `python -m aftrans_jax.main` in a process of its own, on built-in birds drawn at
224 px, with random weights.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness.figures import Figure, Result
from benchmarks.settings import Settings

FIRST_STEP = "step 1/"


def command(settings: Settings, workdir: Path) -> list[str]:
    """Returns the command of a run of one step."""
    changes = {
        "pretrained": "",
        "model.variant": settings.variant,
        "model.stride": settings.stride,
        "data.image_size": settings.image_size,
        "data.source_size": settings.image_size,
        "data.local_size": settings.local_size,
        "data.num_train": settings.batch,
        "data.num_test": settings.batch,
        "region.min_box": 32,
        "train.batch_size": settings.batch,
        "train.steps": 1,
        "train.warmup_steps": 0,
        "train.report_every": 1,
    }
    flags = [f"--config.{key}={value}" for key, value in changes.items()]
    # -P: of two commits that are compared, PYTHONPATH decides which runs, not the current folder.
    start = [sys.executable, "-u", "-P", "-m", "aftrans_jax.main", "--config=configs/demo.py"]
    return [*start, f"--workdir={workdir}", *flags]


def waits(given: list[str], cache: Path) -> tuple[float, float]:
    """Returns the seconds to a command's first line and to its first step.

    Raises:
      RuntimeError: there was no step.
    """
    own = {"PYTHONPATH": os.getcwd()} | dict(os.environ)
    environment = own | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    began = time.perf_counter()
    with subprocess.Popen(given, env=environment, **pipes) as process:
        assert process.stdout is not None
        said = [(line, time.perf_counter() - began) for line in process.stdout]
    steps = [seconds for line, seconds in said if line.startswith(FIRST_STEP)]
    if not steps:
        raise RuntimeError(f"no line begins with {FIRST_STEP!r}: {''.join(x for x, _ in said)}")
    return said[0][1], steps[0]


def measure(settings: Settings) -> Result:
    """Returns the waits of a first start and the medians of those after it."""
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder, "cache")
        starts = []
        for number in range(1 + settings.num_calls):
            settings.pause()
            starts.append(waits(command(settings, Path(folder, f"run{number}")), cache))
    warm = sorted(step for _, step in starts[1:])
    lines = sorted(first for first, _ in starts)
    figures = {
        "first line": lines[len(lines) // 2],
        "first step, cold": starts[0][1],
        "first step, compiled before": warm[len(warm) // 2],
    }
    return Result({name: Figure(round(x, 2), "s") for name, x in figures.items()}, {})
