"""Four fake devices, shapes checked at run time, and the real photos where there are any."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
# Compilation is most of the time here; what is compiled runs for milliseconds.
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
)

from pathlib import Path

import jaxtyping
import numpy as np
import pytest
from places import REAL

jaxtyping.install_import_hook("aftrans_jax", "beartype.beartype")


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real photos, weights and annotations; skips where it is absent."""
    if not REAL.is_dir():
        pytest.skip(f"{REAL} is absent: real photos and weights are not part of the project")
    return REAL


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
