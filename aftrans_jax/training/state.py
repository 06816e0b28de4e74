"""Everything that training changes, as arrays."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from aftrans_jax.training.precision import DynamicLossScale, NoLossScale, where_finite

# Unchecked: JAX and orbax put placeholders into a state while they take it apart.
Count = Any  # an int32 scalar
LossScale = Any  # NoLossScale or DynamicLossScale


@flax.struct.dataclass
class TrainState:
    """Parameters, optimizer state and counters; a resumed run needs nothing else.

    step: updates applied.
    skipped: batches whose float16 gradients overflowed and changed nothing.
    step + skipped is the number of the next batch, from which its augmentation and dropout follow.

    Follows: flax TrainState, arrays only.
    """

    step: Count
    skipped: Count
    params: Any
    opt_state: Any
    loss_scale: LossScale

    @property
    def batch_number(self) -> Int[Array, ""]:
        """Returns how many batches were consumed, skipped ones included."""
        return self.step + self.skipped

    def after(
        self, is_finite: Array, params: Any, opt_state: Any, loss_scale: LossScale
    ) -> "TrainState":
        """Returns the state after a batch; an overflow changes `skipped` and the loss scale alone.

        Follows: flax TrainState.apply_gradients, with flax DynamicScale's example.
        """
        applied = is_finite.astype(jnp.int32)
        return TrainState(
            step=self.step + applied,
            skipped=self.skipped + 1 - applied,
            params=where_finite(is_finite, params, self.params),
            opt_state=where_finite(is_finite, opt_state, self.opt_state),
            loss_scale=loss_scale,
        )


def create_state(
    params: Any, optimizer: optax.GradientTransformation, loss_scale: NoLossScale | DynamicLossScale
) -> TrainState:
    """Returns the state before the first step."""
    zero = jnp.zeros((), jnp.int32)
    opt_state = jax.jit(optimizer.init)(params)  # one program, not one for each shape
    return TrainState(zero, zero, params, opt_state, loss_scale)
