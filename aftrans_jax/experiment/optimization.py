"""The configured optimizer, the parameters that train, and their moving average."""

from typing import Any

import optax

from aftrans_jax.config import Config
from aftrans_jax.model.variants import VARIANTS
from aftrans_jax.training.optimizer import learning_rate_schedule, optimizer
from aftrans_jax.training.parameter_groups import ParamPath, trainable
from aftrans_jax.training.precision import DynamicLossScale, NoLossScale
from aftrans_jax.training.state import TrainState, create_state

_LARGE = 0.01  # a learning rate for SGD


def build_optimizer(config: Config) -> tuple[optax.Schedule, optax.GradientTransformation]:
    """Returns the learning rate by step, and the optimizer that follows it.

    Paper: section 3.2, SGD with a warm-up, cosine annealing and no weight decay.
    Follows: TransFG, momentum and clipping by the global norm.
    """
    schedule = learning_rate_schedule(
        peak=config.train.learning_rate,
        warmup_steps=config.train.warmup_steps,
        num_steps=config.train.steps,
    )
    return schedule, optimizer(
        config.train.optimizer,
        schedule,
        momentum=config.train.momentum,
        clip_norm=config.train.clip_norm,
        weight_decay=config.train.weight_decay,
        layer_decay=config.train.layer_decay,
        num_layers=VARIANTS[config.model.variant].layers,
    )


def build_state(
    config: Config,
    params: Any,
    optimizer: optax.GradientTransformation,
    loss_scale: NoLossScale | DynamicLossScale,
) -> TrainState:
    """Returns the state before the first step: trained and frozen parameters, and the average."""
    of_trunk = trainable(config.train.trainable, VARIANTS[config.model.variant].layers)
    # Gates that get no gradient are frozen: weight decay would change them.
    learns_gates = config.sacm.gate == "straight_through"

    def trains(path: ParamPath) -> bool:
        return of_trunk(path) and (learns_gates or path[0] != "sacm")

    average_decay = config.train.ema
    return create_state(params, optimizer, loss_scale, trains=trains, average_decay=average_decay)


def rate_notes(config: Config) -> tuple[str, ...]:
    """Returns a line where the learning rate suits SGD and the optimizer is another one."""
    train = config.train
    if train.optimizer == "sgd" or train.learning_rate < _LARGE:
        return ()
    return (
        f"train.learning_rate={train.learning_rate} is a rate of SGD: {train.optimizer} mostly "
        "takes 1e-5 to 1e-3, such as --config.train.learning_rate=0.0003",
    )
