"""Evaluation: every test image once, a few of them kept for the report."""

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array

from aftrans_jax.model.outputs import ModelOutput, Region
from aftrans_jax.training.losses import branch_losses, total_loss
from aftrans_jax.training.metrics import (
    Averages,
    average,
    box_area,
    box_contains,
    box_iou,
    centred_box,
    compute,
    correct,
    merge,
    prediction_logits,
)

Examples = dict[str, Any]


class Evaluation(NamedTuple):
    """Averages over a split, how many images they are over, and the images kept.

    samples: one dict an image, numpy: index, image, label, annotated_box, probabilities, and where
    the model has a region: relevance and box. All are host values, so reports need no device.
    outcomes: of every image once, in the split's order: "index", "label" and by name of the logits
    "predicted" and "confidence", the likeliest class and its probability; where the model has a
    region, "box" and, where it has gates, "gate".
    """

    scores: dict[str, float]
    num_examples: int
    samples: list[Examples]
    outcomes: Examples


def eval_step(
    params: Mapping[str, Any],
    batch: Mapping[str, Array],
    *,
    model: nn.Module,
    loss_weights: Mapping[str, float],
    predict_from: str,
    all_sum: Callable[[Averages], Averages],
    crops_annotated: bool = False,
) -> tuple[Averages, Examples]:
    """Returns averages over all devices' real images and what there is to show of each image here.

    Args:
      params: of the model.
      batch: this device's rows: "image", "label", "mask" (False on padding), "box" (annotated, NaN
        without), "index".
      model: of images and `train` to a `ModelOutput`.
      loss_weights: alpha and beta by branch; further terms belong to training alone.
      predict_from: the logits that the shown prediction comes from.
      all_sum: of a tree to its sum over all devices.
      crops_annotated: whether the local branch sees the annotated box, where there is one.
    """
    apply = partial(model.apply, {"params": params}, batch["image"], train=False)
    output = cast(ModelOutput, apply(boxes=batch["box"]) if crops_annotated else apply())
    logits, mask = prediction_logits(output.logits), batch["mask"]
    averages = {
        f"{name}_accuracy": average(correct(branch, batch["label"]), mask)
        for name, branch in logits.items()
    }
    losses = branch_losses(output.logits, batch["label"])
    averages |= {f"{name}_loss": average(loss, mask) for name, loss in losses.items()}
    averages["loss"] = average(total_loss(losses, loss_weights), mask)
    examples: Examples = {
        **{name: batch[name] for name in ("index", "image", "label")},
        "annotated_box": batch["box"],
        "probabilities": jax.nn.softmax(logits[predict_from]),
        "outcome": {name: batch[name] for name in ("index", "label", "mask")}
        | {
            "predicted": jax.tree.map(lambda x: x.argmax(axis=-1), logits),
            "confidence": jax.tree.map(lambda x: jax.nn.softmax(x).max(axis=-1), logits),
        },
    }
    if output.region is not None:
        averages |= localization(output.region, batch["box"], mask, batch["image"].shape[1])
        examples |= {"relevance": output.region.relevance, "box": output.region.box}
        found = {"box": output.region.box, "gate": output.region.gate}
        examples["outcome"] |= {name: x for name, x in found.items() if x is not None}
    return all_sum(averages), examples


def localization(region: Region, annotated: Array, mask: Array, image_size: int) -> Averages:
    """Returns how large the boxes are and how well they agree with the annotated ones.

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


def evaluate(
    step: Callable[[Mapping[str, Array]], tuple[Averages, Examples]],
    batches: Iterable[Mapping[str, Array]],
    *,
    keep: Collection[int],
    batch_size: int,
) -> Evaluation:
    """Returns the averages over all batches and the examples whose index is in `keep`.

    Args:
      step: of a batch, compiled.
      batches: global arrays; batch number k holds examples k * batch_size and on.
      keep: positions in the split; every process passes the same ones.
      batch_size: of all processes together.
    """
    kept_batches = {index // batch_size for index in keep}
    reports, samples, outcomes = [], [], []
    for number, batch in enumerate(batches):
        averages, examples = step(batch)
        reports.append(averages)
        outcomes.append(examples.pop("outcome"))
        if number in kept_batches:  # the images of other batches stay on their devices
            gathered = multihost_utils.process_allgather(examples, tiled=True)
            rows = [row for row, index in enumerate(gathered["index"]) if index in keep]
            samples += [
                jax.tree.map(lambda x, row=row: np.asarray(x[row]), gathered) for row in rows
            ]
    merged = merge(reports)
    samples.sort(key=lambda sample: sample["index"])
    return Evaluation(compute(merged), int(merged["loss"].count), samples, _joined(outcomes))


def _joined(outcomes: list[Examples]) -> Examples:
    """Returns the outcomes of all batches and processes in the order of the split, no padding."""
    gathered = multihost_utils.process_allgather(outcomes, tiled=True)
    whole: Examples = jax.tree.map(lambda *parts: np.concatenate(parts), *gathered)
    rows = np.flatnonzero(whole.pop("mask"))
    rows = rows[np.argsort(whole["index"][rows], kind="stable")]
    return jax.tree.map(lambda values: values[rows], whole)
