"""Data sets by name, and their batches on the devices."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import jax
from jax.sharding import Mesh
from jaxtyping import Array
from tqdm import tqdm

from aftrans_jax.config import Config
from aftrans_jax.data.examples import Dataset, Source
from aftrans_jax.data.loading.autoaugment import auto_augment
from aftrans_jax.data.loading.cache import ResizedCache, check_memory
from aftrans_jax.data.loading.loader import eval_batches, train_batches
from aftrans_jax.data.loading.skipped import Skipped
from aftrans_jax.data.loading.transforms import Augment
from aftrans_jax.data.sets.annotations import Annotations, photo_dataset
from aftrans_jax.data.sets.cars import read_cars
from aftrans_jax.data.sets.csv_list import read_csv
from aftrans_jax.data.sets.cub import read_cub
from aftrans_jax.data.sets.dogs import read_dogs
from aftrans_jax.data.sets.folder import read_folder
from aftrans_jax.data.sets.holdout import hold_out
from aftrans_jax.data.sets.inat import read_inat2017
from aftrans_jax.data.sets.nabirds import read_nabirds
from aftrans_jax.data.sets.synthetic import synthetic_dataset
from aftrans_jax.data.sets.tfds import read_tfds
from aftrans_jax.training import sharding


def _folder(read: Callable[..., Annotations], data: Config) -> Annotations:
    return read(data.dir, test_fraction=data.test_fraction, seed=data.split_seed)


def _inat2017(data: Config) -> Annotations:
    return read_inat2017(data.dir, supercategory=data.supercategory)


def _synthetic(data: Config) -> Dataset:
    return synthetic_dataset(
        num_train=data.num_train, num_test=data.num_test, image_size=data.image_size
    )


def _tfds(data: Config) -> Dataset:
    return read_tfds(data.name.removeprefix("tfds:"), data.dir)


# What `data.name` may be; "tfds:NAME" stands for any set of tensorflow-datasets.
READERS: Mapping[str, Callable[[Config], Annotations | Dataset]] = MappingProxyType(
    {
        "cub": lambda data: read_cub(data.dir),
        "cars": lambda data: read_cars(data.dir),
        "dogs": lambda data: read_dogs(data.dir),
        "inat17": _inat2017,
        "nabirds": lambda data: read_nabirds(data.dir),
        "folder": partial(_folder, read_folder),
        "csv": partial(_folder, read_csv),
        "tfds:NAME": _tfds,
        "synthetic": _synthetic,
    }
)

AUGMENTS: Mapping[str, Augment | None] = MappingProxyType(
    {"none": None, "autoaugment": auto_augment}
)


def reader_name(data_name: str) -> str:
    """Returns the key of `READERS` that a value of `data.name` means, or the value itself.

    Choice: a set of tensorflow-datasets is named in full, `tfds:caltech_birds2011`.
    """
    return "tfds:NAME" if data_name.startswith("tfds:") else data_name


def read_lists(config: Config) -> Annotations | Dataset:
    """Returns what the configured set lists, or the set itself where there are no lists.

    Raises:
      FileNotFoundError, ValueError: see the readers.

    Choice: photos are not looked for, so that the doctor can count those that are missing.
    """
    return READERS[reader_name(config.data.name)](config.data)


def load_dataset(config: Config) -> tuple[Dataset, tuple[str, ...]]:
    """Returns the configured set, ready to be read, and what a user should know of it.

    Raises:
      FileNotFoundError, ValueError: lists or images are missing or damaged, nothing can be held
        out, or the cache does not fit into memory.

    Choice: a hold-out comes out of the training split, so the test split stays the official one.
    """
    listed, data = read_lists(config), config.data
    dataset = photo_dataset(listed) if isinstance(listed, Annotations) else listed
    if data.validation_fraction:
        dataset = hold_out(dataset, data.validation_fraction, data.split_seed)
    if data.cache == "none":
        return dataset, ()
    size = image_sizes(config)["resize_size"]
    splits = dataset.splits()
    note = check_memory(sum(map(len, splits.values())), size)
    cached = {name: ResizedCache(source, size) for name, source in splits.items()}
    return dataset._replace(**cached), (note,)


def global_train_batches(
    config: Config, source: Source, mesh: Mesh, skipped: Skipped | None, start: int
) -> Iterator[Mapping[str, Array]]:
    """Returns the endless batches of all processes from number `start` on, split over the mesh.

    Choice: see `data.loader.train_batches`.
    """
    batches = train_batches(
        source,
        batch_size=config.train.batch_size,
        seed=config.seed,
        start_step=start,
        augment=AUGMENTS[config.data.augment],
        skipped=skipped,
        **_reading(config),
    )
    return sharding.to_devices(batches, mesh)


def global_eval_batches(
    config: Config, source: Source, mesh: Mesh, skipped: Skipped | None, batch_size: int
) -> Iterator[Mapping[str, Array]]:
    """Returns the batches of a split, split over the mesh, with a bar on a terminal.

    Choice: see `data.loader.eval_batches`.
    """
    batches = eval_batches(source, batch_size=batch_size, skipped=skipped, **_reading(config))
    total = -(-len(source) // batch_size)
    hidden = True if jax.process_index() else None  # None: shown on a terminal
    bar = tqdm(batches, "evaluating", total, leave=False, disable=hidden)
    return sharding.to_devices(iter(bar), mesh)


def image_sizes(config: Config) -> dict[str, int]:
    """Returns `image_size` and `resize_size` in pixels, as the transforms take them.

    Follows: TransFG, which resizes to 600 and crops 448.
    """
    size = config.data.image_size
    return {"image_size": size, "resize_size": round(size * config.data.resize_ratio)}


def _reading(config: Config) -> dict[str, Any]:
    return image_sizes(config) | {
        "num_threads": config.data.num_threads,
        "process_index": jax.process_index(),
        "process_count": jax.process_count(),
    }
