"""Sets prepared by tensorflow-datasets as array_record, read in any order without TensorFlow."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from aftrans_jax.data.decoding.decode import MAX_PIXELS
from aftrans_jax.data.examples import Dataset
from aftrans_jax.data.sets.tfds_source import TfdsSource


def read_tfds(name: str, data_dir: str | Path, *, max_pixels: int = MAX_PIXELS) -> Dataset:
    """Returns a set that is prepared as array_record, with boxes where annotated.

    The splits are `train`, `test` and, where the set has it, `validation`, which is the test split
    where there is no labelled `test`. Files of a split without labels may be missing.

    Args:
      name: name in tensorflow-datasets: "caltech_birds2011", also "set/config:version".
      data_dir: tensorflow-datasets' folder, as for `launch/prepare_tfds.sh`; empty for
        `$TFDS_DATA_DIR` or `~/tensorflow_datasets`.
      max_pixels: most pixels that an image may have, else reading it is an error.

    Raises:
      FileNotFoundError: the set is not prepared there, or files of it are missing.
      ValueError: tensorflow-datasets is not installed or has no such set; the set is prepared in
        another format, has no images and labels, or no labelled test split.

    Follows: tensorflow_datasets `tfds.data_source`.
    """
    tfds = _import_tfds()
    builder = _prepared(tfds, name, Path(data_dir).expanduser() if data_dir else "")
    features = dict(builder.info.features.items())
    kinds = {"image": tfds.features.Image, "label": tfds.features.ClassLabel}
    if not all(isinstance(features.get(key), kind) for key, kind in kinds.items()):
        raise ValueError(
            f"{builder.data_dir} has the features {', '.join(features)}: expected an image called "
            "image and a class called label. Choose a set for classification."
        )
    classes = features["label"]
    splits = builder.info.splits
    present = (
        _source(tfds, builder, split, classes.num_classes, max_pixels)
        for split in ("train", "test", "validation")
        if split in splits
    )
    sources = {source.split: source for source in present if _is_labelled(builder, source)}
    train = sources.get("train")
    validation = sources.get("validation")
    test = sources.get("test", validation)
    if train is None or test is None:
        raise ValueError(
            f"{builder.data_dir} has the splits {', '.join(splits)}: expected train, and test or "
            "validation with labels. Choose another set."
        )
    names = _class_names(classes.names, train)
    return Dataset(f"tfds:{name}", train, test, names, None if test is validation else validation)


def _import_tfds() -> ModuleType:
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise ValueError(
            f"data.name='tfds:...' cannot be read: {error}: expected tensorflow-datasets to be "
            "installed. Run `pip install tensorflow-datasets`, or use one of the other readers."
        ) from error
    return tensorflow_datasets


def _prepared(tfds: ModuleType, name: str, data_dir: str | Path) -> Any:
    """Returns the builder of a set that is prepared as array_record."""
    try:
        builder = tfds.builder(name, data_dir=data_dir or None)
    except Exception as error:  # ValueError, AssertionError, ImportError...
        names = tfds.list_builders(with_community_datasets=False)
        near = difflib.get_close_matches(name, names) or ["caltech_birds2011", "stanford_dogs"]
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise ValueError(
            f"data.name='tfds:{name}': {reason}: expected a set of tensorflow-datasets "
            f"{tfds.__version__}, such as {', '.join(near)}. Correct the name."
        ) from error
    command = f"bash launch/prepare_tfds.sh {name} {data_dir}".rstrip()
    if not builder.is_prepared():
        raise FileNotFoundError(
            f"no prepared set in {builder.data_dir}: expected the folder that tensorflow-datasets "
            f"makes. Run `{command}`, or correct data.dir."
        )
    formats = [found.value for found in builder.info.available_file_formats()]
    if "array_record" not in formats:
        raise ValueError(
            f"{builder.data_dir} is prepared as {', '.join(formats)}: expected array_record, which "
            f"can be read at random. Delete that folder and run `{command}`; what has been "
            "downloaded is used again."
        )
    return builder


def _source(
    tfds: ModuleType, builder: Any, split: str, num_classes: int, max_pixels: int
) -> TfdsSource:
    stored = {
        key: tfds.decode.SkipDecoding()
        for key, feature in builder.info.features.items()
        if isinstance(feature, tfds.features.Image)  # segmentation masks too
    }
    records = builder.as_data_source(split, decoders=stored, file_format="array_record")
    return TfdsSource(records, Path(builder.data_dir), split, num_classes, max_pixels)


def _is_labelled(builder: Any, source: TfdsSource) -> bool:
    """Returns whether a split can be used; raises where it could, but some files are missing."""
    first = next(source.readable(), None)
    if first is not None and first["label"] < 0:
        return False
    split = source.split
    missing = [path.name for path in builder.info.splits[split].filepaths if not path.exists()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} files of the split {split} are not in {builder.data_dir}, the first: "
            f"{missing[0]}: expected all that tensorflow-datasets wrote. Copy the whole folder, or "
            "prepare the set again with launch/prepare_tfds.sh."
        )
    return source.first()["label"] >= 0


def _class_names(label_names: Sequence[str], train: TfdsSource) -> tuple[str, ...]:
    """Returns the names of the classes, from the records where the set itself only has numbers.

    Records are read until every class was seen: a fifth of CUB's, as they are shuffled.
    """
    names = dict(enumerate(label_names))
    numbered = all(name == str(label) for label, name in names.items())
    if not (numbered and "label_name" in train.first()):
        return tuple(label_names)
    unseen = set(names)
    for record in train.readable():
        names[record["label"]] = record["label_name"].decode()
        unseen.discard(record["label"])
        if not unseen:
            break
    return tuple(names.values())
