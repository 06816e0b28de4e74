"""Evaluation: every test image once, and a second forward pass of some for the report."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, Float

from aftrans_jax.model.mirror import mirrored
from aftrans_jax.model.outputs import Images, ModelOutput, Region
from aftrans_jax.training.losses import branch_losses, total_loss
from aftrans_jax.training.memory import oom_remedy
from aftrans_jax.training.metrics import (
    NUM_TOP,
    Averages,
    average,
    box_area,
    box_contains,
    box_iou,
    centred_box,
    compute,
    correct,
    in_top5,
    merge,
    prediction_logits,
)

Examples = dict[str, Any]


class Evaluation(NamedTuple):
    """Averages over a split, the number of images in them, and the outcome of each image.

    outcomes: numpy arrays with every image once, in the split's order: "index", "label", and by
    name of the logits "predicted" (the most likely class) and "confidence" (its probability);
    where the model has a region, "box" and, where it has gates, "gate".
    """

    scores: dict[str, float]
    num_examples: int
    outcomes: Examples


def eval_step(
    params: Mapping[str, Any],
    batch: Mapping[str, Array],
    *,
    model: nn.Module,
    loss_weights: Mapping[str, float],
    all_sum: Callable[[Averages], Averages],
    crops_annotated: bool = False,
    mirror: bool = False,
) -> tuple[Averages, Examples]:
    """Returns averages over all devices' real images, and results for each image here.

    These are its "outcome", see `Evaluation`, and the "relevance" of its patches where the model
    has a region.

    Args:
      params: parameters of the model.
      batch: this device's rows: "image", "label", "mask" (False on padding), "box" (annotated, NaN
        without), "index".
      model: module that maps images and `train` to a `ModelOutput`.
      loss_weights: alpha and beta by branch; further terms are only used in training.
      all_sum: sums a tree over all devices.
      crops_annotated: whether the local branch sees the annotated box, where there is one.
      mirror: whether to average the logits of each image and its mirror image.
    """

    def apply(images: Images, **boxes: Any) -> ModelOutput:
        return cast(ModelOutput, model.apply({"params": params}, images, train=False, **boxes))

    boxes = {"boxes": batch["box"]} if crops_annotated else {}
    output = (mirrored(apply) if mirror else apply)(batch["image"], **boxes)
    logits = prediction_logits(output.logits)
    mask = batch["mask"]
    averages = {
        f"{name}_accuracy": average(correct(branch, batch["label"]), mask)
        for name, branch in logits.items()
    }
    averages |= {
        f"{name}_top5_accuracy": average(in_top5(branch, batch["label"]), mask)
        for name, branch in logits.items()
        if branch.shape[-1] > NUM_TOP
    }
    losses = branch_losses(output.logits, batch["label"])
    averages |= {f"{name}_loss": average(loss, mask) for name, loss in losses.items()}
    averages["loss"] = average(total_loss(losses, loss_weights), mask)
    outcome = {name: batch[name] for name in ("index", "label", "mask")} | {
        "predicted": jax.tree.map(lambda x: x.argmax(axis=-1), logits),
        "confidence": jax.tree.map(lambda x: jax.nn.softmax(x).max(axis=-1), logits),
    }
    examples: Examples = {"outcome": outcome}
    if output.region is not None:
        averages |= localization(output.region, batch["box"], mask, batch["image"].shape[1])
        examples["relevance"] = output.region.relevance
        found = {"box": output.region.box, "gate": output.region.gate}
        outcome |= {name: x for name, x in found.items() if x is not None}
    return all_sum(averages), examples


def localization(region: Region, annotated: Array, mask: Array, image_size: int) -> Averages:
    """Returns the mean area of the boxes and how well they agree with the annotated ones.

    The paper uses no annotated boxes and compares ways to locate by accuracy alone.
    """
    boxes = region.box
    known = mask & ~jnp.isnan(annotated).any(axis=-1)
    return {
        "box_area_mean": average(box_area(boxes) / image_size**2, mask),
        "box_iou_mean": average(box_iou(boxes, annotated), known),
        "centred_box_iou_mean": average(box_iou(centred_box(boxes, image_size), annotated), known),
        "box_contains_mean": average(box_contains(boxes, annotated), known),
    }


Step = Callable[[Mapping[str, Array]], tuple[Averages, Examples]]  # takes a batch; compiled


@oom_remedy("lower eval.batch_size")
def evaluate(step: Step, batches: Iterable[Mapping[str, Array]]) -> Evaluation:
    """Returns the averages over all global batches of a split and the outcome of each image."""
    reports = []
    outcomes = []
    for batch in batches:
        averages, examples = step(batch)
        reports.append(averages)
        outcomes.append(examples["outcome"])
    merged = merge(reports)
    return Evaluation(compute(merged), int(merged["loss"].count), _joined(outcomes))


@oom_remedy("lower eval.batch_size")
def relevance(
    step: Step, batches: Iterable[Mapping[str, Array]]
) -> Float[np.ndarray, "images rows cols"] | None:
    """Returns the relevance of each image's patches in the split's order; None without regions.

    Meant for few images: those of a full split take gigabytes.
    """
    found = []
    for batch in batches:
        examples = step(batch)[1]
        if "relevance" not in examples:
            return None
        maps = examples["relevance"].astype(jnp.float32)
        found.append({"relevance": maps, **{k: examples["outcome"][k] for k in ("index", "mask")}})
    return _joined(found)["relevance"]


def _joined(outcomes: list[Examples]) -> Examples:
    """Returns the outcomes of all batches and processes together, in the split's order."""
    gathered = multihost_utils.process_allgather(outcomes, tiled=True)
    joined: Examples = jax.tree.map(lambda *batches: np.concatenate(batches), *gathered)
    rows = np.flatnonzero(joined.pop("mask"))
    rows = rows[np.argsort(joined["index"][rows], kind="stable")]
    return jax.tree.map(lambda values: values[rows], joined)
