"""SGD with momentum, warm-up, cosine decay and clipping."""

import optax


def learning_rate_schedule(*, peak: float, warmup_steps: int, num_steps: int) -> optax.Schedule:
    """Returns step -> learning rate: linear from 0 to `peak`, then half a cosine to 0.

    Raises:
      ValueError: the warm-up is as long as the training.

    Follows: TransFG WarmupCosineSchedule.

    Choice: linear warm-up and cosine down to 0, as TransFG; section 3.2 gives neither end.
    """
    if not 0 <= warmup_steps < num_steps:
        raise ValueError(
            f"train.warmup_steps={warmup_steps} must be at least 0 and below "
            f"train.steps={num_steps}: shorten the warm-up or train longer"
        )
    return optax.warmup_cosine_decay_schedule(0.0, peak, warmup_steps, num_steps)


def sgd(
    schedule: optax.Schedule, *, momentum: float, clip_norm: float, weight_decay: float
) -> optax.GradientTransformation:
    """Returns SGD with momentum after clipping at a global norm.

    Follows: TransFG train.py.

    Paper: section 3.2, SGD and weight decay 0.
    """
    return optax.chain(
        optax.clip_by_global_norm(clip_norm),
        optax.add_decayed_weights(weight_decay),
        optax.sgd(schedule, momentum=momentum),
    )
