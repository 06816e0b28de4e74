"""The batches of a data set on the devices, as configured."""

import socket
import zlib
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import Array
from tqdm import tqdm

from aftrans_jax.config import Config
from aftrans_jax.data.examples import Source
from aftrans_jax.data.loading.autoaugment import auto_augment
from aftrans_jax.data.loading.cache import free_memory
from aftrans_jax.data.loading.loader import eval_batches, train_batches
from aftrans_jax.data.loading.randaugment import rand_augment
from aftrans_jax.data.loading.sampling import SAMPLINGS
from aftrans_jax.data.loading.skipped import Skipped
from aftrans_jax.data.loading.transforms import CROPS, Augment
from aftrans_jax.experiment.data import image_sizes
from aftrans_jax.training import sharding

AUGMENTS: Mapping[str, Augment | None] = MappingProxyType(
    {"none": None, "autoaugment": auto_augment, "randaugment": rand_augment}
)


def global_train_batches(
    config: Config, source: Source, mesh: Mesh, skipped: Skipped | None, start: int
) -> Iterator[Mapping[str, Array]]:
    """Returns the endless global batches from number `start` on, split over the mesh.

    See `data.loading.loader.train_batches`.

    Raises:
      ValueError: a batch does not fit into memory.
    """
    _check_batch(config)
    batches = train_batches(
        source,
        batch_size=config.train.batch_size,
        seed=config.seed,
        start_step=start,
        crop=CROPS[config.data.crop],
        augment=AUGMENTS[config.data.augment],
        sampling=SAMPLINGS[config.data.sampling],
        skipped=skipped,
        **image_sizes(config, trains=True),
        **_reading(config),
    )
    return sharding.to_devices(batches, mesh)


def eval_batch_size(config: Config, mesh: Mesh, sources: Iterable[Source]) -> int:
    """Returns the batch size for all sources that one compiled step evaluates.

    It is no larger than the longest of them, but rounded up, since every device gets the same
    number of rows; padding is masked.
    """
    return sharding.rounded_up(min(config.eval.batch_size, max(map(len, sources))), mesh)


def global_eval_batches(
    config: Config, source: Source, mesh: Mesh, skipped: Skipped | None, batch_size: int
) -> Iterator[Mapping[str, Array]]:
    """Returns the global batches of a source, split over the mesh; shows a bar on a terminal.

    See `data.loading.loader.eval_batches`.
    """
    batches = eval_batches(
        source, batch_size=batch_size, skipped=skipped, **image_sizes(config), **_reading(config)
    )
    total = -(-len(source) // batch_size)
    hidden = True if jax.process_index() else None  # None: only shown on a terminal
    bar = tqdm(batches, "evaluating", total, leave=False, disable=hidden)
    return sharding.to_devices(iter(bar), mesh)


def processes_here() -> int:
    """Returns how many processes of the run are on this host, by the names of their hosts.

    Every process has to call it.
    """
    if jax.process_count() == 1:
        return 1
    own = np.uint32(zlib.crc32(socket.gethostname().encode()))
    return int((multihost_utils.process_allgather(own) == own).sum())


def _check_batch(config: Config) -> None:
    """Raises ValueError where the images of a batch and a resized one do not fit into memory."""
    size = image_sizes(config, trains=True)
    rows = config.train.batch_size // jax.process_count()
    needed = processes_here() * 3 * (rows * size["image_size"] ** 2 + size["resize_size"] ** 2)
    free = free_memory()
    if needed > free:
        raise ValueError(
            f"train.batch_size={config.train.batch_size}: a batch of {size['image_size']} px, and "
            f"an image of {size['resize_size']} px, take {needed / 1e9:.2f} GB of the "
            f"{free / 1e9:.2f} GB of free memory on this host: lower train.batch_size, "
            "data.source_size or data.resize_ratio"
        )


def _reading(config: Config) -> dict[str, Any]:
    return {
        "num_threads": config.data.num_threads,
        "process_index": jax.process_index(),
        "process_count": jax.process_count(),
    }
