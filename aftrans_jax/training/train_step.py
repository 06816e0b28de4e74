"""One step of training, a pure function: gradients on each device, then the update."""

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
# The state, rows of one or all devices, and a random key -> gradients and averages.
Gradients = Callable[[TrainState, Mapping[str, Array], PRNGKeyArray], tuple[Any, Averages]]


def train_step(
    state: TrainState,
    batch: Mapping[str, Array],
    rng: PRNGKeyArray,
    *,
    gradients: Gradients,
    optimizer: optax.GradientTransformation,
) -> tuple[TrainState, Averages]:
    """Returns the state after one batch, and the averages that `mean_gradients` names.

    Args:
      state: current state, donated by the caller's jit.
      batch: rows of all devices, see `mean_gradients`.
      rng: random key, see `mean_gradients`.
      gradients: `mean_gradients` with its other arguments set, on every device where there are
        several.
      optimizer: optimizer of the trained parameters, `state.params`.

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
    head: str,
    accumulation_steps: int,
    strategy: ShardingStrategy,
    cross_entropy: CrossEntropy = label_losses,
) -> tuple[Any, Averages]:
    """Returns the gradients of the mean loss of all devices' rows, and averages over these rows.

    The averages are "loss", "accuracy" and a "<name>_loss" for each term of the loss. Under FSDP,
    only this device's shard of the gradients is returned.

    Args:
      state: state, sharded as `strategy` says.
      batch: this device's rows: "image" uint8 [batch height width 3], "label" int32 [batch] and
        "mask" bool [batch], False where a row holds no example and must not count.
      rng: random key of this device; dropout folds the batch's number into it.
      model: module that maps images and `train` to a `ModelOutput`.
      loss_weights: weights of the terms, see `losses.loss_terms`.
      head: logits whose accuracy is reported.
      accumulation_steps: number of microbatches, computed one after another to save memory.
      strategy: how the state is sharded, and what devices exchange.
      cross_entropy: cross-entropy of each branch in the loss; reported is that to the labels, as in
        evaluations.

    Paper: eq. 10.
    """
    dropout = jax.random.fold_in(rng, state.batch_number)
    scale = state.loss_scale.scale / len(batch["mask"])
    summed = partial(_summed_loss, model, loss_weights, head, cross_entropy)

    def loss_fn(
        params: Any, microbatch: Mapping[str, Array], number: Array
    ) -> tuple[Array, Averages]:
        gathered = strategy.gather(state.merged(params))
        loss, averages = summed(gathered, microbatch, jax.random.fold_in(dropout, number))
        return loss * scale, averages

    grad_fn = partial(jax.grad(loss_fn, has_aux=True), state.params)
    grads, averages = strategy.all_sum(_sum_over_microbatches(grad_fn, batch, accumulation_steps))
    num_examples = jnp.maximum(averages["loss"].count, 1)  # of all devices
    return jax.tree.map(lambda grad: grad / (scale * num_examples), grads), averages


def _summed_loss(
    model: nn.Module,
    loss_weights: Mapping[str, float],
    head: str,
    cross_entropy: CrossEntropy,
    params: Any,
    batch: Mapping[str, Array],
    dropout: PRNGKeyArray,
) -> tuple[Array, Averages]:
    """Returns the summed loss of the rows that count, and the averages over them."""
    variables = {"params": params}
    rngs = {"dropout": dropout}
    output = cast(ModelOutput, model.apply(variables, batch["image"], train=True, rngs=rngs))
    logits = prediction_logits(output.logits)[head]
    mask = batch["mask"]
    terms = loss_terms(output, batch, loss_weights, cross_entropy)
    losses = total_loss(terms, loss_weights)
    reported = terms | branch_losses(output.logits, batch["label"])
    averages = {
        "loss": average(losses, mask),
        "accuracy": average(correct(logits, batch["label"]), mask),
        **{f"{name}_loss": average(term, mask) for name, term in reported.items()},
    }
    return jnp.where(mask, losses, 0).sum(), averages


def _sum_over_microbatches(
    function: Callable[[Mapping[str, Array], Array], Tree],
    batch: Mapping[str, Array],
    num_microbatches: int,
) -> Tree:
    """Returns the sum of `function(microbatch, number)` over the rows' microbatches, in turn."""
    microbatches = jax.tree.map(
        lambda x: x.reshape(num_microbatches, -1, *x.shape[1:]), dict(batch)
    )
    numbered = (microbatches, jnp.arange(num_microbatches))
    first = jax.tree.map(lambda x: x[0], numbered)
    if num_microbatches == 1:  # a scan traces the function twice, which takes seconds
        return function(*first)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(function, *first))

    def add(total: Tree, microbatch: tuple[Mapping[str, Array], Array]) -> tuple[Tree, None]:
        return jax.tree.map(jnp.add, total, function(*microbatch)), None

    return jax.lax.scan(add, zeros, numbered)[0]
