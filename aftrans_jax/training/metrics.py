"""Metrics averaged over examples on the device, as CLU metrics."""

import functools
from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
from clu.metrics import Average
from jaxtyping import Array, Bool, Float, Int, Num

from aftrans_jax.model.heads import SUM

Averages = dict[str, Average]

NUM_TOP = 5  # among no more classes than these every answer would be right


def average(values: Float[Array, " batch"], mask: Bool[Array, "..."]) -> Average:
    """Returns the average of the values whose mask is set; the mask is broadcast to them.

    It holds a sum and a count, which merge exactly over uneven batches.
    """
    return Average.from_model_output(values, mask=jnp.broadcast_to(mask, values.shape))


def merge(reports: Iterable[Averages]) -> Averages:
    """Returns the averages over several steps, on the host; waits for the devices."""
    on_host: list[Averages] = jax.device_get(list(reports))
    return {
        name: functools.reduce(Average.merge, (report[name] for report in on_host))
        for name in on_host[0]
    }


def compute(averages: Averages) -> dict[str, float]:
    """Returns the averages as numbers, NaN for an average of nothing."""
    return {
        name: float(value.total) / int(value.count) if value.count else float("nan")
        for name, value in averages.items()
    }


def prediction_logits(
    logits: Mapping[str, Float[Array, "batch classes"]],
) -> dict[str, Float[Array, "batch classes"]]:
    """Returns the logits to predict from: each branch's, and their sum where there are two.

    Paper: table 4; it does not say how both are combined.
    """
    if len(logits) == 1:
        return dict(logits)
    return {**logits, SUM: jnp.stack(list(logits.values())).sum(axis=0)}


def correct(
    logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]
) -> Float[Array, " batch"]:
    """Returns 1 where the highest logit is the label's, else 0; a NaN counts as highest."""
    return (logits.argmax(axis=-1) == labels).astype(jnp.float32)


def in_top5(
    logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]
) -> Float[Array, " batch"]:
    """Returns 1 where fewer than five logits come before the label's, else 0.

    Equal logits come in the order of their classes, as they do for `correct`. NaN comes before
    every number, and a label whose own logit is NaN does not count, unlike in `correct`.
    """
    label = labels[:, None]
    classes = jnp.arange(logits.shape[-1])
    own = jnp.take_along_axis(logits, label, axis=-1)
    after = (logits < own) | ((logits == own) & (classes >= label))  # itself included
    return ((~after).sum(axis=-1) < NUM_TOP).astype(jnp.float32)


def box_area(boxes: Num[Array, "batch 4"]) -> Num[Array, " batch"]:
    """Returns the area in square pixels of half-open boxes, 0 for empty ones.

    Boxes are (top, left, bottom, right).
    """
    return jnp.prod(jnp.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=-1)


def box_iou(boxes: Num[Array, "batch 4"], others: Num[Array, "batch 4"]) -> Float[Array, " batch"]:
    """Returns the intersection over union of each pair of boxes; NaN where either is NaN."""
    overlap = jnp.concatenate(
        [jnp.maximum(boxes[:, :2], others[:, :2]), jnp.minimum(boxes[:, 2:], others[:, 2:])], axis=1
    )
    shared = box_area(overlap)
    return shared / (box_area(boxes) + box_area(others) - shared)


def box_contains(
    boxes: Num[Array, "batch 4"], inner: Num[Array, "batch 4"]
) -> Float[Array, " batch"]:
    """Returns 1 where `inner` lies entirely in the box, else 0."""
    inside = (boxes[:, :2] <= inner[:, :2]) & (boxes[:, 2:] >= inner[:, 2:])
    return inside.all(axis=-1).astype(jnp.float32)


def centred_box(boxes: Num[Array, "batch 4"], image_size: int) -> Float[Array, "batch 4"]:
    """Returns square boxes of the same area in the middle of the image.

    Photographers centre their subject, so this is what a located box has to beat.
    """
    half = jnp.sqrt(box_area(boxes).astype(jnp.float32))[:, None] / 2
    return image_size / 2 + half * jnp.array([-1, -1, 1, 1])
