"""One step of training, a pure function."""

from collections.abc import Mapping
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray

from aftrans_jax.model.outputs import ModelOutput
from aftrans_jax.training.losses import branch_losses, masked_mean, total_loss
from aftrans_jax.training.metrics import Averages, average, correct, prediction_logits
from aftrans_jax.training.precision import where_finite
from aftrans_jax.training.state import TrainState


def train_step(
    state: TrainState,
    batch: Mapping[str, Array],
    rng: PRNGKeyArray,
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    loss_weights: Mapping[str, float],
    predict_from: str,
) -> tuple[TrainState, Averages]:
    """Returns the state after one batch, and what to average over batches.

    Args:
      state: donated by the caller's jit.
      batch: "image" uint8 [batch height width 3], "label" int32 [batch] and "mask" bool [batch],
        False where a row holds no example and must not count.
      rng: of the run; dropout folds the batch's number into it.
      model: of images and `train` to a `ModelOutput`.
      optimizer: of the parameters' gradients.
      loss_weights: alpha and beta by branch.
      predict_from: the logits whose accuracy is reported.

    Paper: eq. 10 and section 4.2.
    """
    dropout = jax.random.fold_in(rng, state.batch_number)

    def loss_fn(params: Mapping[str, Any]) -> tuple[Array, tuple[Array, ModelOutput]]:
        variables, rngs = {"params": params}, {"dropout": dropout}
        output = cast(ModelOutput, model.apply(variables, batch["image"], train=True, rngs=rngs))
        losses = total_loss(branch_losses(output.logits, batch["label"]), loss_weights)
        return masked_mean(losses, batch["mask"]), (losses, output)

    grad_fn = state.loss_scale.value_and_grad(loss_fn, has_aux=True)
    loss_scale, is_finite, (_, (losses, output)), grads = grad_fn(state.params)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    logits, counted = prediction_logits(output.logits)[predict_from], is_finite & batch["mask"]
    metrics = {
        "loss": average(losses, counted),
        "accuracy": average(correct(logits, batch["label"]), counted),
        "gradient_norm": average(optax.tree.norm(grads)[None], is_finite),
        "skipped": average(1.0 - is_finite[None], jnp.array(True)),
    }
    applied = is_finite.astype(jnp.int32)
    state = TrainState(
        step=state.step + applied,
        skipped=state.skipped + 1 - applied,
        params=where_finite(is_finite, params, state.params),
        opt_state=where_finite(is_finite, opt_state, state.opt_state),
        loss_scale=loss_scale,
    )
    return state, metrics
