"""What a step makes of its rows before the model sees them: soft targets, and parts in turn."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from aftrans_jax.training.metrics import Averages
from aftrans_jax.training.state import TrainState
from aftrans_jax.training.train_step import Gradients

Batch = Mapping[str, Array]
# A device's rows, see `mean_gradients`, and what is drawn from -> the rows that are learned from.
Prepare = Callable[[Batch, PRNGKeyArray], Batch]

_OWN = 2**31 - 1  # no part of a batch has this number, by which dropout is drawn


def chain(parts: Sequence[Prepare]) -> Prepare:
    """Returns a function that applies all parts, each with random numbers of its own.

    Without parts it returns the batch as it is.
    """

    def prepare(batch: Batch, rng: PRNGKeyArray) -> Batch:
        for number, part in enumerate(parts):
            batch = part(batch, jax.random.fold_in(rng, number))
        return batch

    return prepare


def prepared(gradients: Gradients, prepare: Prepare) -> Gradients:
    """Returns the gradients of rows that are prepared first, the masks aside.

    What is drawn follows from the device and the batch's number alone, so a run resumes exactly;
    parts that a device takes its rows in come later, and change nothing of it.
    """

    def run(state: TrainState, batch: Batch, rng: PRNGKeyArray) -> tuple[Any, Averages]:
        own = jax.random.fold_in(jax.random.fold_in(rng, state.batch_number), _OWN)
        return gradients(state, prepare(batch, own), rng)

    return run


def with_targets(
    batch: Batch, rng: PRNGKeyArray, *, class_weights: Float[Array | np.ndarray, " classes"]
) -> Batch:
    """Returns the batch with "target" [batch classes]: the weight of its class at each label.

    Args:
      batch: with "label".
      rng: not drawn from.
      class_weights: what an example of each class counts for; 1 for all where all count alike.
    """
    del rng
    labels = batch["label"]
    one_hot = jax.nn.one_hot(labels, len(class_weights), dtype=jnp.float32)
    return {**batch, "target": one_hot * jnp.asarray(class_weights)[labels][:, None]}


def smooth_targets(batch: Batch, rng: PRNGKeyArray, *, smoothing: float) -> Batch:
    """Returns the batch with a share of each target spread evenly over all classes.

    What an example counts for, the sum of its target, stays as it is.

    Args:
      batch: with "target".
      rng: not drawn from.
      smoothing: the share, in [0, 1).

    Follows: torch `CrossEntropyLoss(label_smoothing=...)`; with class weights, an example's weight
    is its own class's throughout, where torch weighs the spread share class by class.
    """
    del rng
    target = batch["target"]
    even = target.mean(axis=-1, keepdims=True)
    return {**batch, "target": (1 - smoothing) * target + smoothing * even}
