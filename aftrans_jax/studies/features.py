"""Class tokens of a frozen model for every image of a set."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32

from aftrans_jax.config import Config
from aftrans_jax.data.examples import Dataset, Source
from aftrans_jax.data.loading.skipped import Skipped
from aftrans_jax.experiment.batches import eval_batch_size, global_eval_batches
from aftrans_jax.experiment.checks import check
from aftrans_jax.experiment.data import check_boxes, load_dataset
from aftrans_jax.experiment.model import ANNOTATED, Model, build_model, initial_params
from aftrans_jax.model.outputs import ModelOutput
from aftrans_jax.training import sharding

Anywhere = Array | np.ndarray  # on a device or on the host


class Features(NamedTuple):
    """Features from a frozen model for the images of one split, in the split's order.

    Attributes:
      branches: class tokens by branch, "global" and, where there is a local branch, "local".
      labels: class of each image.
      positions: index of each image in its split; images that could not be read are missing.
      boxes: regions in pixels of the images; the full image where the model has no region.
    """

    branches: Mapping[str, Float32[Anywhere, "images hidden"]]
    labels: Int32[Anywhere, "images"]
    positions: Int32[Anywhere, "images"]
    boxes: Int32[Anywhere, "images 4"]


class SplitFeatures(NamedTuple):
    """The features of both splits, their data set, and notes for the user."""

    train: Features
    test: Features
    dataset: Dataset
    notes: tuple[str, ...]


def frozen_features(config: Config) -> SplitFeatures:
    """Returns the features of the configured set.

    The model has its pretrained weights and computes in float32; no image is augmented. All gates
    are equal, since an untrained SACM has no reason to prefer a layer.

    Args:
      config: configuration of the model and the data; training settings are not read.

    Raises:
      ValueError, FileNotFoundError: as `experiment.build.build`; or the crops are to be annotated
        boxes, and the set has none.
    """
    config = config.copy_and_resolve_references()
    config.train.precision = "float32"
    config.data.cache = "none"  # each image is read once
    # Training photos are read as test photos are.
    config.data.resize_ratio = config.eval.resize_ratio or config.data.resize_ratio
    check(config, num_devices=1, trains=False)
    dataset, notes = load_dataset(config)
    crops_annotated = config.region.method == ANNOTATED
    if crops_annotated:
        check_boxes(dataset)
    model = build_model(config, len(dataset.class_names), jnp.dtype("float32"))
    params, more = initial_params(config, model)
    params = jax.tree_util.tree_map_with_path(_with_equal_gates, params)
    mesh = sharding.device_mesh()
    step = sharding.per_device(
        partial(_step, model, crops_annotated),
        mesh,
        arguments=(sharding.REPLICATED, sharding.BATCH_SPLIT),
        results=sharding.BATCH_SPLIT,
    )
    batch_size = eval_batch_size(config, mesh, [dataset.train, dataset.test])
    params = sharding.replicate(params, mesh)

    def features(source: Source) -> Features:
        skipped = Skipped(source) if config.data.on_error == "skip" else None
        batches = global_eval_batches(config, source, mesh, skipped, batch_size)
        parts = [jax.device_get(step(params, batch)) for batch in batches]
        joined = jax.tree.map(lambda *rows: np.concatenate(rows), *parts)
        finite = all(np.isfinite(tokens).all() for tokens in joined.branches.values())
        if not finite:
            raise ValueError(
                f"class tokens of {source.names[0]} and on are not all finite: expected numbers. "
                f"Compare pretrained={config.pretrained!r} with its source"
            )
        there = joined.positions >= 0  # the others pad the last batch, or could not be read
        return jax.tree.map(lambda rows: rows[there], joined)

    notes = (*notes, *(f"pretrained: {note}" for note in more))
    return SplitFeatures(features(dataset.train), features(dataset.test), dataset, notes)


def _with_equal_gates(path: tuple[Any, ...], leaf: Any) -> Any:
    """Returns zeros for a parameter of the SACM, so that all its gates are sigmoid(0)."""
    return np.zeros_like(leaf) if path[0].key == "sacm" else leaf


def _step(
    model: Model, crops_annotated: bool, params: Mapping[str, Any], batch: Mapping[str, Array]
) -> Features:
    annotated: dict[str, Any] = {"boxes": batch["box"]} if crops_annotated else {}
    output = model.apply({"params": params}, batch["image"], train=False, **annotated)
    output = cast(ModelOutput, output)
    side = batch["image"].shape[1]
    boxes = jnp.tile(jnp.array([0, 0, side, side]), (len(batch["index"]), 1))
    if output.region is not None:
        boxes = output.region.box
    return Features(output.features, batch["label"], batch["index"], boxes)
