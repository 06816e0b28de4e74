"""Everything that training changes, as arrays."""

from typing import Any

import flax.struct
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from aftrans_jax.training.precision import DynamicLossScale, NoLossScale

# Unchecked: JAX and orbax put placeholders into a state while they take it apart.
Count = Any  # an int32 scalar
LossScale = Any  # NoLossScale or DynamicLossScale


@flax.struct.dataclass
class TrainState:
    """Parameters, optimizer state and counters; a resumed run needs nothing else.

    step: updates applied.
    skipped: batches whose float16 gradients overflowed and changed nothing.
    step + skipped is the number of the next batch, and names its augmentation and dropout.

    Follows: flax TrainState, arrays only.
    """

    step: Count
    skipped: Count
    params: Any
    opt_state: optax.OptState
    loss_scale: LossScale

    @property
    def batch_number(self) -> Int[Array, ""]:
        """Returns how many batches were consumed.

        Choice: a skipped step is no progress, but its batch is gone.
        """
        return self.step + self.skipped


def create_state(
    params: Any, optimizer: optax.GradientTransformation, loss_scale: NoLossScale | DynamicLossScale
) -> TrainState:
    """Returns the state before the first step.

    Follows: flax TrainState.create.
    """
    zero = jnp.zeros((), jnp.int32)
    return TrainState(zero, zero, params, optimizer.init(params), loss_scale)
