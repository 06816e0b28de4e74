"""What every result is written with: where, when the machine was how busy, and by which code."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax

PACKAGES = (
    *("jax", "jaxlib", "libtpu", "flax", "numpy", "scipy", "torch", "tensorflow-cpu"),
    *("grain", "pillow", "opencv-python-headless", "scikit-image", "cupy-cuda13x"),
)


def circumstances() -> dict[str, Any]:
    """Returns device, load average, versions and commit, to be called when all is measured.

    Choice: a figure without its machine and its code cannot be compared with.
    """
    return {
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "host": f"{os.cpu_count()} cores of {_processor()}",
        "load_average": [round(load, 2) for load in os.getloadavg()],  # over 1, 5, 15 minutes
        "versions": {
            "python": platform.python_version(),
            **{name: version for name in PACKAGES if (version := _version(name))},
        },
        "commit": _commit(),
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


def _commit() -> str | None:
    """Returns the commit, "-dirty" where files have changed since, None outside a checkout."""
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        answer = subprocess.run(
            describe, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
