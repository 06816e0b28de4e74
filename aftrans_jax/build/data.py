"""Data sets by name, and their batches on the devices."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import jax
from jax.sharding import Mesh
from jaxtyping import Array
from tqdm import tqdm

from aftrans_jax.config import Config
from aftrans_jax.data.annotations import photo_dataset
from aftrans_jax.data.cub import read_cub
from aftrans_jax.data.examples import Dataset
from aftrans_jax.data.loader import eval_batches, train_batches
from aftrans_jax.data.synthetic import synthetic_dataset
from aftrans_jax.training import sharding


def _synthetic(data: Config) -> Dataset:
    return synthetic_dataset(
        num_train=data.num_train, num_test=data.num_test, image_size=data.image_size
    )


DATASETS: Mapping[str, Callable[[Config], Dataset]] = MappingProxyType(
    {"cub": lambda data: photo_dataset(read_cub(data.dir)), "synthetic": _synthetic}
)


def global_train_batches(
    config: Config, dataset: Dataset, mesh: Mesh, start: int
) -> Iterator[Mapping[str, Array]]:
    """Returns the endless batches of all processes from number `start` on, split over the mesh.

    Choice: see `data.loader.train_batches`.
    """
    batches = train_batches(
        dataset.train,
        batch_size=config.train.batch_size,
        seed=config.seed,
        start_step=start,
        **_reading(config),
    )
    return sharding.to_devices(batches, mesh)


def global_eval_batches(
    config: Config, dataset: Dataset, mesh: Mesh, batch_size: int
) -> Iterator[Mapping[str, Array]]:
    """Returns the batches of the test split, split over the mesh, with a bar on a terminal.

    Choice: see `data.loader.eval_batches`.
    """
    batches = eval_batches(dataset.test, batch_size=batch_size, **_reading(config))
    total = -(-len(dataset.test) // batch_size)
    bar = tqdm(batches, "evaluating", total, leave=False, disable=None)
    return sharding.to_devices(iter(bar), mesh)


def image_sizes(config: Config) -> dict[str, int]:
    """Returns `image_size` and `resize_size` in pixels, as the transforms take them.

    Follows: TransFG, which resizes to 600 and crops 448.
    """
    size = config.data.image_size
    return {"image_size": size, "resize_size": round(size * config.data.resize_ratio)}


def _reading(config: Config) -> dict[str, int]:
    return image_sizes(config) | {
        "num_threads": config.data.num_threads,
        "process_index": jax.process_index(),
        "process_count": jax.process_count(),
    }
