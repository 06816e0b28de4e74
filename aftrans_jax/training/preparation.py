"""Changes to the rows of a batch before the model sees them, such as soft targets."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from aftrans_jax.training.metrics import Averages
from aftrans_jax.training.state import TrainState
from aftrans_jax.training.train_step import Gradients

Rows = Mapping[str, Array]  # of a batch, by name
# A device's rows, see `mean_gradients`, and a random key -> the rows to train on.
Prepare = Callable[[Rows, PRNGKeyArray], Rows]

# Folded into a batch's key, it gives the key for the preparation of its rows. The numbers of
# accumulation steps, which give dropout's keys from the same one, are smaller.
_PREPARATION = 2**31 - 1


def chain(parts: Sequence[Prepare]) -> Prepare:
    """Returns a function that applies all parts in turn, each with its own random key.

    Without parts it returns the batch unchanged.
    """

    def prepare(batch: Rows, rng: PRNGKeyArray) -> Rows:
        for number, part in enumerate(parts):
            batch = part(batch, jax.random.fold_in(rng, number))
        return batch

    return prepare


def prepared(gradients: Gradients, prepare: Prepare) -> Gradients:
    """Returns `gradients`, computed on rows that are prepared first; masks stay as they are.

    The random key follows from the device and the batch's number alone, so a run resumes exactly;
    the number of accumulation steps does not change it.
    """

    def run(state: TrainState, batch: Rows, rng: PRNGKeyArray) -> tuple[Any, Averages]:
        own = jax.random.fold_in(jax.random.fold_in(rng, state.batch_number), _PREPARATION)
        return gradients(state, prepare(batch, own), rng)

    return run


def with_targets(
    batch: Rows, rng: PRNGKeyArray, *, class_weights: Float[Array | np.ndarray, " classes"]
) -> Rows:
    """Returns the batch with "target" [batch classes]: the class weight at each label, else 0.

    Args:
      batch: batch with "label".
      rng: not used.
      class_weights: weight of an example of each class; all 1 where classes count alike.
    """
    del rng
    labels = batch["label"]
    one_hot = jax.nn.one_hot(labels, len(class_weights), dtype=jnp.float32)
    return {**batch, "target": one_hot * jnp.asarray(class_weights)[labels][:, None]}


def smooth_targets(batch: Rows, rng: PRNGKeyArray, *, smoothing: float) -> Rows:
    """Returns the batch with a share of each target spread evenly over all classes.

    The weight of an example, the sum of its target, does not change.

    Args:
      batch: batch with "target".
      rng: not used.
      smoothing: share to spread, in [0, 1).

    Follows: torch `CrossEntropyLoss(label_smoothing=...)`; with class weights, an example's weight
    is its own class's throughout, where torch weighs the spread share class by class.
    """
    del rng
    target = batch["target"]
    even = target.mean(axis=-1, keepdims=True)
    return {**batch, "target": (1 - smoothing) * target + smoothing * even}
