"""SGD, AdamW and LAMB with warm-up, cosine decay, clipping and layer-wise learning rates."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import jax
import optax

from aftrans_jax.training.parameter_groups import decayed, rate_scales


def learning_rate_schedule(*, peak: float, warmup_steps: int, num_steps: int) -> optax.Schedule:
    """Returns step -> learning rate: linear from 0 to `peak`, then half a cosine to 0.

    Raises:
      ValueError: see `check_warmup`.

    Follows: TransFG WarmupCosineSchedule.

    Choice: linear warm-up and cosine down to 0, as TransFG; section 3.2 gives neither end.
    """
    check_warmup(warmup_steps, num_steps)
    return optax.warmup_cosine_decay_schedule(0.0, peak, warmup_steps, num_steps)


def check_warmup(warmup_steps: int, num_steps: int) -> None:
    """Checks that a warm-up is shorter than the training; `num_steps` is 0 where unknown.

    Raises:
      ValueError: names the key, its value and what was expected.
    """
    if warmup_steps < 0 or 0 < num_steps <= warmup_steps:
        steps = f"={num_steps}" if num_steps else ""
        raise ValueError(
            f"train.warmup_steps={warmup_steps} must be at least 0 and below train.steps{steps}: "
            "shorten the warm-up or train longer"
        )


def _sgd(
    schedule: optax.Schedule, *, momentum: float, weight_decay: float
) -> tuple[optax.GradientTransformation, ...]:
    """SGD, with weight decay added to the gradient, before the momentum."""
    decay = optax.add_decayed_weights(weight_decay, mask=decayed)
    return decay, optax.sgd(schedule, momentum=momentum)


def _adaptive(
    make: Callable[..., optax.GradientTransformation],
    schedule: optax.Schedule,
    *,
    momentum: float,
    weight_decay: float,
) -> tuple[optax.GradientTransformation, ...]:
    """AdamW or LAMB, with weight decay added to the step; optax's b2 of 0.999 and epsilon."""
    return (make(schedule, b1=momentum, weight_decay=weight_decay, mask=decayed),)


OPTIMIZERS: Mapping[str, Callable[..., tuple[optax.GradientTransformation, ...]]] = (
    MappingProxyType(
        {
            "sgd": _sgd,
            "adamw": partial(_adaptive, optax.adamw),
            "lamb": partial(_adaptive, optax.lamb),
        }
    )
)


def optimizer(
    name: str,
    schedule: optax.Schedule,
    *,
    momentum: float,
    clip_norm: float,
    weight_decay: float,
    layer_decay: float,
    num_layers: int,
) -> optax.GradientTransformation:
    """Returns the optimizer, which first clips gradients at a global norm.

    Args:
      name: one of `OPTIMIZERS`.
      schedule: maps the step to the learning rate.
      momentum: momentum of SGD; for AdamW and LAMB b1, the decay of the mean gradient.
      clip_norm: largest norm of the gradients of all trained parameters together.
      weight_decay: weight decay of kernels alone, see `parameter_groups.decayed`.
      layer_decay: 1 for one rate everywhere, see `parameter_groups.rate_scales`.
      num_layers: number of the trunk's blocks.

    Follows: TransFG train.py, SGD with clipping.

    Paper: section 3.2, SGD and weight decay 0.

    Choice: decay spares biases, norms and tokens; it is 0 in section 3.2, of all in TransFG.
    """
    steps = OPTIMIZERS[name](schedule, momentum=momentum, weight_decay=weight_decay)
    layered = partial(_scaled, decay=layer_decay, num_layers=num_layers)
    return optax.chain(
        optax.clip_by_global_norm(clip_norm),
        *steps,
        optax.stateless(lambda updates, _: layered(updates)),
    )


def _scaled(updates: Any, *, decay: float, num_layers: int) -> Any:
    """Returns the updates, weight decay included, scaled by each group's learning rate."""
    scales = rate_scales(updates, decay=decay, num_layers=num_layers)
    return jax.tree.map(lambda x, scale: x * scale if scale != 1 else x, updates, scales)
