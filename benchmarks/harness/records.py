"""The record of a result: device, load of the machine, versions and commit."""

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from aftrans_jax.json_files import write_json
from benchmarks.harness.figures import Figure, Result
from benchmarks.registry import Benchmark
from benchmarks.settings import Settings

PACKAGES = (
    "jax",
    "jaxlib",
    "jax-cuda12-plugin",
    "jax-cuda13-plugin",
    "nvidia-cudnn-cu12",
    "nvidia-cudnn-cu13",
    "libtpu",
    "flax",
    "numpy",
    "scipy",
    "torch",
    "tensorflow-cpu",
    "grain",
    "pillow",
    "opencv-python-headless",
    "scikit-image",
)


class Device(NamedTuple):
    """The device that JAX runs on: its backend, number and kind."""

    backend: str
    kind: str
    number: int


def current_device(talk: Any) -> Device:
    """Returns the device that JAX runs on; for a worker, since asking occupies the device."""
    del talk
    return Device(jax.default_backend(), jax.devices()[0].device_kind, jax.device_count())


def slug(kind: str) -> str:
    """Returns a device's short name, for a folder: "h100" for "NVIDIA H100 80GB HBM3"."""
    known = {"TPU v5 lite": "v5e", "TPU v6 lite": "v6e"}
    short = re.search(r"\b[ABHLV]\d{2,3}\b", kind)
    return known.get(kind) or (short[0] if short else kind.replace(" ", "_")).lower()


def environment(device: Device) -> dict[str, Any]:
    """Returns device, load average, versions and commit; call it when all is measured."""
    return {
        "device": f"{device.number} x {device.kind}",
        "host": f"{os.cpu_count()} cores of {_processor()}",
        "load_average": [round(load, 2) for load in os.getloadavg()],  # over 1, 5, 15 minutes
        "versions": {
            "python": platform.python_version(),
            **{name: version for name in PACKAGES if (version := _version(name))},
        },
        "commit": commit(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def commit() -> str | None:
    """Returns the commit, "-dirty" where files have changed since, None outside a checkout."""
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        answer = subprocess.run(
            describe, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def write(
    folder: Path,
    benchmark: Benchmark,
    settings: Settings,
    result: Result,
    surroundings: Mapping[str, Any],
) -> Path:
    """Writes a result to FOLDER/<device>/<name>.json and returns that path."""
    kind = result.compiled_for or surroundings["device"].partition(" x ")[2]
    path = folder / slug(kind) / f"{benchmark.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "benchmark": benchmark.name,
        "claim": benchmark.claim,
        "settings": settings.record(benchmark.reads),
        "figures": {name: figure.record() for name, figure in result.figures.items()},
        "details": result.details,
    }
    compiled_for = {"compiled_for": result.compiled_for} if result.compiled_for else {}
    write_json(path, {**content, **compiled_for, **surroundings})
    return path


def table(benchmark: Benchmark, backend: str, figures: Mapping[str, Figure]) -> Iterator[str]:
    """Yields the lines of a table of figures, with the verdict on those that have a goal."""
    goals = {goal.figure: goal for goal in benchmark.goals if backend in goal.devices}
    width = max(map(len, figures), default=0)
    yield f"{'':{width}} {'median':>13}  {'quartiles':>25} {'unit':13} error"
    for name, figure in figures.items():
        quartiles = "" if figure.lower is None else f"{figure.lower:,.4g} to {figure.upper:,.4g}"
        error = "" if figure.error is None else f"{figure.error:.1e}"
        goal = goals.get(name)
        verdict = f" {goal.verdict(figure.median)}" if goal else ""
        yield (
            f"{name:{width}} {_digits(figure.median):>13}  {quartiles:>25} {figure.unit:13} "
            f"{error:7}{verdict}"
        ).rstrip()


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.5g}"
