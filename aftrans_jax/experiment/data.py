"""Data sets by name: read, split and cached as configured, on the host only."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np

from aftrans_jax.config import Config
from aftrans_jax.data.examples import Dataset, at_size
from aftrans_jax.data.loading.cache import ResizedCache, check_memory
from aftrans_jax.data.sets.annotations import Annotations, photo_dataset
from aftrans_jax.data.sets.cars import read_cars
from aftrans_jax.data.sets.csv_list import read_csv
from aftrans_jax.data.sets.cub import read_cub
from aftrans_jax.data.sets.dogs import read_dogs
from aftrans_jax.data.sets.folder import read_folder
from aftrans_jax.data.sets.holdout import hold_out
from aftrans_jax.data.sets.inat import read_inat2017
from aftrans_jax.data.sets.nabirds import read_nabirds
from aftrans_jax.data.sets.subsets import photo_table
from aftrans_jax.data.sets.synthetic import synthetic_dataset
from aftrans_jax.data.sets.tfds import read_tfds
from aftrans_jax.experiment.classes import (
    Evaluated,
    leave_out_used,
    match_classes,
)

Reader = Callable[[Config, Evaluated | None], Annotations | Dataset]


def _users_own(
    read: Callable[..., Annotations], data: Config, evaluated: Evaluated | None
) -> Annotations:
    # In another set than the training's, no images were held out.
    fraction = data.test_fraction if evaluated is None or evaluated.is_own else 1.0
    return read(
        data.dir,
        test_fraction=fraction,
        seed=data.split_seed,
        evaluates=evaluated is not None,
    )


# Values of `data.name`; "tfds:NAME" stands for any set of tensorflow-datasets.
READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "cub": lambda data, _: read_cub(data.dir),
        "cars": lambda data, _: read_cars(data.dir),
        "dogs": lambda data, _: read_dogs(data.dir),
        "inat17": lambda data, _: read_inat2017(data.dir, supercategory=data.supercategory),
        "nabirds": lambda data, _: read_nabirds(data.dir),
        "folder": partial(_users_own, read_folder),
        "csv": partial(_users_own, read_csv),
        "tfds:NAME": lambda data, _: read_tfds(
            data.name.removeprefix("tfds:"), data.dir, max_pixels=data.max_pixels
        ),
        "synthetic": lambda data, _: synthetic_dataset(
            num_train=data.num_train, num_test=data.num_test, image_size=data.source_size
        ),
    }
)
_WITHOUT_FOLDER = ("synthetic", "tfds:NAME")  # work without `data.dir`


def reader_name(data_name: str) -> str:
    """Returns the key of `READERS` for a value of `data.name`, unknown values as they are.

    It is "tfds:NAME" for every set of tensorflow-datasets, such as `tfds:caltech_birds2011`.
    """
    return "tfds:NAME" if data_name.startswith("tfds:") else data_name


def read_lists(config: Config, evaluated: Evaluated | None = None) -> Annotations | Dataset:
    """Returns the lists of the configured set, or the set itself where it has no lists.

    Image files are not searched for, so that `data.doctor` can count missing ones. For an
    evaluation, folders and CSV files need no training images.

    Raises:
      FileNotFoundError, ValueError: see the readers.
    """
    name = config.data.name
    if reader_name(name) not in READERS:
        raise ValueError(f"data.name={name!r} is unknown: choose one of {', '.join(READERS)}")
    if not config.data.dir and reader_name(name) not in _WITHOUT_FOLDER:
        raise ValueError(
            f"data.dir is empty: expected where the images of data.name={name!r} are; for the "
            "folder that you are in, --config.data.dir=."
        )
    return READERS[reader_name(name)](config.data, evaluated)


def with_validation(
    listed: Annotations | Dataset, data: Config
) -> tuple[Annotations | Dataset, list[str]]:
    """Returns a set with the validation split that `data` asks for, and notes for the user.

    A validation split of the set itself is used as it is.

    Raises:
      ValueError: see `hold_out`; or a damaged record hides a label that is needed.
    """
    fraction = data.validation_fraction
    own = listed.validation
    if fraction and own is not None:
        return listed, [
            f"data.validation_fraction={fraction} is not used: the set has a validation split of "
            f"its own, of {len(own)} images"
        ]
    if fraction and len(listed.train):
        return hold_out(listed, fraction, data.split_seed), []
    return listed, []


def lists_as_trained(config: Config) -> Annotations | Dataset:
    """Returns the lists as `read_lists` does, with the validation split that a training would draw.

    Raises:
      FileNotFoundError, ValueError: see `read_lists` and `with_validation`.
    """
    listed = read_lists(config)
    try:
        return with_validation(listed, config.data)[0]
    except ValueError:
        if isinstance(listed, Annotations):
            raise
        return listed  # a record is damaged, which is reported when it is opened


def load_dataset(
    config: Config, evaluated: Evaluated | None = None, copies: int = 1
) -> tuple[Dataset, tuple[str, ...]]:
    """Returns the configured set, ready to be read, and notes for the user.

    A validation split of the set itself is used as it is; otherwise validation images are held out
    of the training split. The test split stays the official one.

    Args:
      config: configuration of the run.
      evaluated: for an evaluation: then the set's classes are matched by name, its training images
        may be missing, and none is cached.
      copies: number of processes on this host that do the same, for the memory that a cache takes.

    Raises:
      FileNotFoundError, ValueError: lists or images are missing or damaged, nothing can be held
        out, or the cache does not fit into memory.
    """
    data = config.data
    listed, drawn = with_validation(read_lists(config, evaluated), data)
    dataset, notes = _opened(listed, data.max_pixels, evaluated)
    notes += drawn
    splits = dataset.splits()
    sizes = {name: image_sizes(config, trains=name == "train")["resize_size"] for name in splits}
    splits = {name: at_size(source, sizes[name]) for name, source in splits.items()}
    dataset = dataset._replace(**splits)
    if evaluated is not None:
        dataset = match_classes(dataset, evaluated.classes)
    if data.cache == "none" or evaluated is not None:  # an evaluation reads each image once
        return dataset, tuple(notes)
    note = check_memory([(len(source), sizes[name]) for name, source in splits.items()], copies)
    cached = {name: ResizedCache(source, sizes[name]) for name, source in splits.items()}
    return dataset._replace(**cached), (*notes, note)


def _opened(
    listed: Annotations | Dataset, max_pixels: int, evaluated: Evaluated | None
) -> tuple[Dataset, list[str]]:
    """Returns a set whose images exist, and notes; images of the training are left out."""
    if isinstance(listed, Dataset):
        return listed, []
    dataset = photo_dataset(listed, max_pixels=max_pixels, only_test=evaluated is not None)
    used = evaluated.used if evaluated else {}
    test, left_out = leave_out_used(dataset.test, listed.test, used)
    return dataset._replace(test=test), [*listed.notes, *left_out]


def has_boxes(dataset: Dataset) -> bool:
    """Returns whether the test images are annotated with boxes.

    Where lists show it, one box is enough; elsewhere the first readable image decides.

    Raises:
      FileNotFoundError, ValueError: no image can be read; the error is that of the last.
    """
    source = dataset.test
    table = photo_table(dataset.test)
    if table is not None:
        return table.boxes is not None and not np.isnan(table.boxes).any(axis=1).all()
    for index in range(len(source)):
        try:
            return not np.isnan(source[index].box).any()
        except (OSError, ValueError):
            if index == len(source) - 1:
                raise
    return False


def check_boxes(dataset: Dataset) -> None:
    """Raises ValueError where annotated boxes are to be crops and the set has none."""
    if not has_boxes(dataset):
        raise ValueError(
            f"region.method='annotated': {dataset.name!r} has no annotated boxes; leave it out, "
            "or take a set that has them, such as CUB"
        )


def image_sizes(config: Config, *, trains: bool = False) -> dict[str, int]:
    """Returns `image_size` and `resize_size` in pixels, as the transforms take them.

    The transforms make images of `data.source_size`; the model shrinks them for the global branch.

    Args:
      config: complete configuration.
      trains: whether they are of training images; otherwise of images to evaluate or predict.

    Follows: TransFG, which resizes to 600 and crops 448.
    """
    size = config.data.source_size
    ratio = config.data.resize_ratio
    if not trains:
        ratio = config.eval.resize_ratio or ratio
    return {"image_size": size, "resize_size": round(size * ratio)}
