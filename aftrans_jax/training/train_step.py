"""One step of training, a pure function: gradients of what one device holds, then the update."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray

from aftrans_jax.model.outputs import ModelOutput
from aftrans_jax.training.losses import (
    CrossEntropy,
    branch_losses,
    label_losses,
    loss_terms,
    total_loss,
)
from aftrans_jax.training.metrics import Averages, average, correct, prediction_logits
from aftrans_jax.training.precision import where_finite
from aftrans_jax.training.sharding import ShardingStrategy
from aftrans_jax.training.state import TrainState

Tree = TypeVar("Tree")
# Of the state, a device's or all rows, and random numbers: to gradients and what is averaged.
Gradients = Callable[[TrainState, Mapping[str, Array], PRNGKeyArray], tuple[Any, Averages]]


def train_step(
    state: TrainState,
    batch: Mapping[str, Array],
    rng: PRNGKeyArray,
    *,
    gradients: Gradients,
    optimizer: optax.GradientTransformation,
) -> tuple[TrainState, Averages]:
    """Returns the state after one batch, and what to average over batches.

    Args:
      state: donated by the caller's jit.
      batch: see `mean_gradients`; of all devices.
      rng: likewise.
      gradients: `mean_gradients` with all it needs, on every device where there are some.
      optimizer: of the gradients of the parameters that train, `state.params`.

    Choice: a batch whose float16 gradients overflow counts as no step; section 3.2 is silent.
    """
    grads, averages = gradients(state, batch, rng)
    loss_scale, is_finite = state.loss_scale.after(grads)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    new = state.after(is_finite, optax.apply_updates(state.params, updates), opt_state, loss_scale)
    metrics = {
        **where_finite(is_finite, averages, jax.tree.map(jnp.zeros_like, averages)),
        "gradient_norm": average(optax.tree.norm(grads)[None], is_finite),
        "skipped": average(1.0 - is_finite[None], jnp.array(True)),
    }
    return new, metrics


def mean_gradients(
    state: TrainState,
    batch: Mapping[str, Array],
    rng: PRNGKeyArray,
    *,
    model: nn.Module,
    loss_weights: Mapping[str, float],
    predict_from: str,
    accumulation_steps: int,
    sharing: ShardingStrategy,
    cross_entropy: CrossEntropy = label_losses,
) -> tuple[Any, Averages]:
    """Returns the gradients of the mean loss of all devices' rows, and what to average over them.

    Of the gradients, those that this device keeps.

    Args:
      state: of which this device holds what `sharing` says.
      batch: this device's rows: "image" uint8 [batch height width 3], "label" int32 [batch] and
        "mask" bool [batch], False where a row holds no example and must not count.
      rng: of this device; dropout folds the batch's number into it.
      model: of images and `train` to a `ModelOutput`.
      loss_weights: of the terms, see `losses.loss_terms`.
      predict_from: the logits whose accuracy is reported.
      accumulation_steps: parts that the rows are taken in, one after another, to save memory.
      sharing: how devices share the state, and exchange what they must.
      cross_entropy: of the branches, of which the loss is made; that to the labels is reported, as
        it is by evaluations.

    Paper: eq. 10.
    """
    dropout = jax.random.fold_in(rng, state.batch_number)
    scale = state.loss_scale.scale / len(batch["mask"])
    summed = partial(_summed_loss, model, loss_weights, predict_from, cross_entropy)

    def loss_fn(params: Any, part: Mapping[str, Array], number: Array) -> tuple[Array, Averages]:
        whole = sharing.gather(state.whole(params))
        loss, averages = summed(whole, part, jax.random.fold_in(dropout, number))
        return loss * scale, averages

    grad_fn = partial(jax.grad(loss_fn, has_aux=True), state.params)
    grads, averages = sharing.all_sum(_sum_over_parts(grad_fn, batch, accumulation_steps))
    num_examples = jnp.maximum(averages["loss"].count, 1)  # of all devices
    return jax.tree.map(lambda grad: grad / (scale * num_examples), grads), averages


def _summed_loss(
    model: nn.Module,
    loss_weights: Mapping[str, float],
    predict_from: str,
    cross_entropy: CrossEntropy,
    params: Any,
    batch: Mapping[str, Array],
    dropout: PRNGKeyArray,
) -> tuple[Array, Averages]:
    """Returns the sum of the losses of the rows that count, and what to average over them."""
    variables, rngs = {"params": params}, {"dropout": dropout}
    output = cast(ModelOutput, model.apply(variables, batch["image"], train=True, rngs=rngs))
    logits, mask = prediction_logits(output.logits)[predict_from], batch["mask"]
    terms = loss_terms(output, batch, loss_weights, cross_entropy)
    losses = total_loss(terms, loss_weights)
    reported = terms | branch_losses(output.logits, batch["label"])
    averages = {
        "loss": average(losses, mask),
        "accuracy": average(correct(logits, batch["label"]), mask),
        **{f"{name}_loss": average(term, mask) for name, term in reported.items()},
    }
    return jnp.where(mask, losses, 0).sum(), averages


def _sum_over_parts(
    function: Callable[[Mapping[str, Array], Array], Tree],
    batch: Mapping[str, Array],
    num_parts: int,
) -> Tree:
    """Returns the sum of a function of a part of the rows and its number, one part at a time."""
    parts = jax.tree.map(lambda x: x.reshape(num_parts, -1, *x.shape[1:]), dict(batch))
    numbered = (parts, jnp.arange(num_parts))
    first = jax.tree.map(lambda x: x[0], numbered)
    if num_parts == 1:  # a scan traces the function twice, which takes seconds
        return function(*first)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(function, *first))

    def add(total: Tree, part: tuple[Mapping[str, Array], Array]) -> tuple[Tree, None]:
        return jax.tree.map(jnp.add, total, function(*part)), None

    return jax.lax.scan(add, zeros, numbered)[0]
