"""Class tokens of a frozen model for every image of a set, kept on disk."""

import hashlib
import io
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32

from aftrans_jax import __version__
from aftrans_jax.config import Config
from aftrans_jax.data.examples import Dataset, Source
from aftrans_jax.data.loading.loader import eval_batches
from aftrans_jax.data.loading.skipped import Skipped
from aftrans_jax.experiment.batches import eval_batch_size, global_eval_batches
from aftrans_jax.experiment.checks import check
from aftrans_jax.experiment.data import check_boxes, image_sizes, load_dataset
from aftrans_jax.experiment.model import ANNOTATED, Model, build_model, initial_params
from aftrans_jax.files import make_folder, write_bytes
from aftrans_jax.model.outputs import ModelOutput
from aftrans_jax.studies.rows import Say
from aftrans_jax.training import sharding
from aftrans_jax.weights.download import weights_file
from aftrans_jax.workdir.record import flat

# Groups and keys that change no feature.
_WITHOUT_EFFECT = ("train.", "eval.", "report.", "loss.", "data.num_threads", "data.cache")
_BATCH_SIZE = 32  # of the images whose contents are digested; the digest depends on it
Anywhere = Array | np.ndarray  # on a device or on the host
Split = tuple[Source, Skipped | None]  # images, and the record of those that cannot be read


class Features(NamedTuple):
    """What a frozen model makes of one split, in the split's order.

    branches: class tokens by branch, "global" and, where there is a local branch, "local".
    labels: the class of each image.
    positions: the place of each image in its split; images that could not be read are absent.
    boxes: of the regions, in pixels of the images; the whole image without a region.
    """

    branches: Mapping[str, Float32[Anywhere, "images hidden"]]
    labels: Int32[Anywhere, "images"]
    positions: Int32[Anywhere, "images"]
    boxes: Int32[Anywhere, "images 4"]


class Extracted(NamedTuple):
    """The features of both splits, the set that they are of, and what a user should know of it."""

    train: Features
    test: Features
    dataset: Dataset
    notes: tuple[str, ...]


def frozen_features(config: Config, cache: Path, say: Say) -> Extracted:
    """Returns the features of the configured set, those in `cache` where they are already there.

    The model has its pretrained weights and computes in float32; no image is augmented. All gates
    are equal, since an untrained SACM has nothing to prefer one layer by. A file in `cache` belongs
    to the settings and to the contents of the images, their labels and boxes and the weights, all
    of which are read to find it; a damaged one is computed again.

    Args:
      config: of the model and the data; what concerns training is not read.
      cache: a folder, made where it is absent.
      say: shows a line to the user.

    Raises:
      ValueError, FileNotFoundError: as `experiment.build.build`; or the annotated boxes are to be
        seen, and the set has none.
    """
    config = config.copy_and_resolve_references()
    config.train.precision = "float32"
    check(config, num_devices=1, trains=False)
    dataset, notes = load_dataset(config)
    if config.region.method == ANNOTATED:
        check_boxes(dataset)
    splits = {
        name: (source, Skipped(source) if config.data.on_error == "skip" else None)
        for name, source in (("train", dataset.train), ("test", dataset.test))
    }
    path = cache / f"{_digest(config, splits)}.npz"
    found = _read(path, say)
    if found is None:
        found, more = _extract(config, len(dataset.class_names), splits)
        notes = (*notes, *more)
        make_folder(cache)
        _write(path, found)
    return Extracted(found["train"], found["test"], dataset, notes)


def _extract(
    config: Config, num_classes: int, splits: Mapping[str, Split]
) -> tuple[dict[str, Features], tuple[str, ...]]:
    model = build_model(config, num_classes, jnp.dtype("float32"))
    params, notes = initial_params(config, model)
    params = jax.tree_util.tree_map_with_path(_with_equal_gates, params)
    mesh = sharding.data_mesh()
    step = sharding.per_device(
        partial(_step, model, config.region.method == ANNOTATED),
        mesh,
        arguments=(sharding.WHOLE, sharding.SPLIT),
        results=sharding.SPLIT,
    )
    batch_size = eval_batch_size(config, mesh, [source for source, _ in splits.values()])
    params = sharding.replicate(params, mesh)

    def features(source: Source, skipped: Skipped | None) -> Features:
        batches = global_eval_batches(config, source, mesh, skipped, batch_size)
        parts = [jax.device_get(step(params, batch)) for batch in batches]
        joined = jax.tree.map(lambda *rows: np.concatenate(rows), *parts)
        finite = all(np.isfinite(tokens).all() for tokens in joined.branches.values())
        if not finite:
            raise ValueError(
                f"class tokens of {source.names[0]} and on are not all finite: expected numbers. "
                f"Compare pretrained={config.pretrained!r} with its source"
            )
        there = joined.positions >= 0  # the others fill up the last batch, or could not be read
        return jax.tree.map(lambda rows: rows[there], joined)

    found = {name: features(*split) for name, split in splits.items()}
    return found, tuple(f"pretrained: {note}" for note in notes)


def _with_equal_gates(path: tuple[Any, ...], leaf: Any) -> Any:
    """Returns zeros for a parameter of the SACM, whose gates then all are sigmoid(0)."""
    return np.zeros_like(leaf) if path[0].key == "sacm" else leaf


def _step(
    model: Model, crops_annotated: bool, params: Mapping[str, Any], batch: Mapping[str, Array]
) -> Features:
    given: dict[str, Any] = {"boxes": batch["box"]} if crops_annotated else {}
    output = model.apply({"params": params}, batch["image"], train=False, **given)
    output = cast(ModelOutput, output)
    side = batch["image"].shape[1]
    boxes = jnp.tile(jnp.array([0, 0, side, side]), (len(batch["index"]), 1))
    if output.region is not None:
        boxes = output.region.box
    return Features(output.features, batch["label"], batch["index"], boxes)


def _digest(config: Config, splits: Mapping[str, Split]) -> str:
    """Returns a name for the features of these settings, images as the model gets them, weights."""
    settings = {
        key: value
        for key, value in flat(config.to_dict()).items()
        if key not in _WITHOUT_EFFECT and f"{key.partition('.')[0]}." not in _WITHOUT_EFFECT
    }
    digest = hashlib.sha256(json.dumps([settings, __version__], sort_keys=True).encode())
    if config.pretrained:
        with weights_file(config.pretrained).open("rb") as weights:
            digest.update(hashlib.file_digest(weights, "sha256").digest())
    for source, skipped in splits.values():
        batches = eval_batches(
            source,
            batch_size=_BATCH_SIZE,
            num_threads=config.data.num_threads,
            process_index=0,
            process_count=1,
            skipped=skipped,
            **image_sizes(config),
        )
        for batch in batches:
            for values in batch.values():
                digest.update(cast(np.ndarray, values).tobytes())
    return digest.hexdigest()[:16]


def _write(path: Path, found: Mapping[str, Features]) -> None:
    arrays: dict[str, Any] = {}
    for split, features in found.items():
        plain = features._asdict() | {"branches": np.array(list(features.branches))}
        arrays |= {f"{split}/{name}": value for name, value in plain.items()}
        arrays |= {f"{split}/of/{name}": value for name, value in features.branches.items()}
    content = io.BytesIO()
    np.savez(content, **arrays)
    write_bytes(path, content.getvalue())


def _read(path: Path, say: Say) -> dict[str, Features] | None:
    """Returns what a file holds, None where there is none or it is damaged, which is said."""
    try:
        with np.load(io.BytesIO(path.read_bytes())) as stored:
            return {split: _features(stored, split) for split in ("train", "test")}
    except FileNotFoundError:
        return None
    except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds
        say(f"note: {path} cannot be read ({type(error).__name__}: {error}); it is computed again")
        return None


def _features(stored: Mapping[str, np.ndarray], split: str) -> Features:
    names = [str(name) for name in stored[f"{split}/branches"]]
    branches = {name: stored[f"{split}/of/{name}"] for name in names}
    return Features(branches, *(stored[f"{split}/{name}"] for name in Features._fields[1:]))
