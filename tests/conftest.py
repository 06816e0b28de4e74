"""Four fake devices, shapes checked at run time, and the real photos where there are any."""

import contextlib
import gc
import json
import os
import shutil
import tempfile

from compilation import on_devices

# Tracing makes objects by the million, which Python would search through after every 700.
gc.set_threshold(20_000)

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = on_devices(4)
# What is compiled twice in a session, by another test, worker or child process, is compiled once.
# The workers of xdist inherit the folder of the process that starts them.
_COMPILED = None
if "PYTEST_XDIST_WORKER" not in os.environ:
    _COMPILED = tempfile.TemporaryDirectory(prefix="aftrans_jax_compiled_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _COMPILED.name
os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(2**40)  # with a limit, JAX locks the folder
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"

from pathlib import Path

import jaxtyping
import numpy as np
import pytest
from filelock import FileLock
from places import REAL, ROOT

jaxtyping.install_import_hook("aftrans_jax", "beartype.beartype")


def pytest_unconfigure() -> None:
    """Removes the compilation cache."""
    if _COMPILED:
        _COMPILED.cleanup()


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real photos, weights and annotations; skips where it is absent."""
    if not REAL.is_dir():
        pytest.skip(f"{REAL} is absent: real photos and weights are not part of the project")
    return REAL


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_evicted() -> None:
    """JAX would search the whole cache folder before it adds each entry.

    There is no public way; where JAX has renamed its own, tests are slower.
    """
    with contextlib.suppress(ImportError):
        from jax._src.lru_cache import LRUCache

        LRUCache._evict_if_needed = lambda self, *, additional_size=0: None


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory) -> Path:
    """The archives of tests/golden/, each in a folder of its name."""
    folder = tmp_path_factory.mktemp("golden")
    for archive in (ROOT / "tests" / "golden").glob("*.zip"):
        shutil.unpack_archive(archive, folder / archive.stem)
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory) -> Path:
    """The directory of a tiny run whose heads differ in accuracy; the sum's is reported.

    The first worker that needs it trains it, and each has a copy.
    """
    own = tmp_path_factory.mktemp("trained")
    above = own.parent.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with FileLock(above / "trained.lock"):
        if not (above / "trained" / "result.json").exists():
            train_tiny(above / "trained")
    return shutil.copytree(above / "trained", own / "run")


def train_tiny(workdir: Path) -> None:
    from unittest import mock

    import jax
    from experiments import tiny_config, tiny_variants

    import aftrans_jax
    from aftrans_jax.training import sharding

    changes = {
        "eval__logits": "sum",
        "train__steps": 60,
        "train__learning_rate": 0.25,
        "train__report_every": 60,
        "data__num_train": 48,
        "data__num_test": 60,
    }
    one = sharding.device_mesh(jax.devices()[:1])
    with tiny_variants(), mock.patch.object(sharding, "device_mesh", return_value=one):
        aftrans_jax.train(tiny_config(**changes), workdir)
    result = json.loads((workdir / "result.json").read_text())
    assert result["global_accuracy"] != result["sum_accuracy"]


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """The test images of that run as files, in folders of their classes."""
    from PIL import Image

    from aftrans_jax.data.sets.synthetic import synthetic_dataset

    root = tmp_path_factory.mktemp("photos") / "test"
    dataset = synthetic_dataset(num_train=48, num_test=60, image_size=32)
    for index in range(len(dataset.test)):
        example = dataset.test[index]
        folder = root / f"{example.label:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(example.image).save(folder / f"{index}.png")
    return root
