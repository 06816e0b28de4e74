"""Everything that training changes, as arrays, and the parameters that it does not train."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from aftrans_jax.training.averaging import MovingAverage, NoAverage
from aftrans_jax.training.parameter_groups import ParamPath, merge, partition
from aftrans_jax.training.precision import DynamicLossScale, NoLossScale, where_finite

# Unchecked: JAX and orbax put placeholders into a state while they take it apart.
Count = Any  # an int32 scalar
LossScale = Any  # NoLossScale or DynamicLossScale
Average = Any  # NoAverage or MovingAverage

# Path prefixes of the evaluated parameters in a checkpoint; later ones override earlier ones.
EVAL_PARAMS = ("params/", "frozen/", "average/params/")


@flax.struct.dataclass
class TrainState:
    """Parameters, optimizer state and counters; a resumed run needs nothing else.

    step: updates applied.
    skipped: batches whose float16 gradients overflowed and changed nothing.
    step + skipped is the number of the next batch, from which its augmentation and dropout follow.
    params: the trained parameters; gradients and `opt_state` cover only these.
    frozen: the other parameters.
    average: moving average of the trained ones.

    Follows: flax TrainState, arrays only.
    """

    step: Count
    skipped: Count
    params: Any
    opt_state: Any
    loss_scale: LossScale
    frozen: Any = flax.struct.field(default_factory=dict)
    average: Average = flax.struct.field(default_factory=NoAverage)

    @property
    def batch_number(self) -> Int[Array, ""]:
        """Returns how many batches were consumed, skipped ones included."""
        return self.step + self.skipped

    def merged(self, params: Any) -> Any:
        """Returns all parameters of the model: the trained ones that are given, and the frozen."""
        return merge(self.frozen, params)

    def eval_params(self) -> Any:
        """Returns the model's parameters for evaluation: averaged ones where an average is kept."""
        return self.merged(self.average.of(self.params))

    def after(
        self, is_finite: Array, params: Any, opt_state: Any, loss_scale: LossScale
    ) -> "TrainState":
        """Returns the state after a batch; an overflow only changes `skipped` and the loss scale.

        Follows: flax TrainState.apply_gradients, with flax DynamicScale's example.
        """
        applied = is_finite.astype(jnp.int32)
        average = self.average.after(params, self.step + 1)
        return TrainState(
            step=self.step + applied,
            skipped=self.skipped + 1 - applied,
            params=where_finite(is_finite, params, self.params),
            opt_state=where_finite(is_finite, opt_state, self.opt_state),
            loss_scale=loss_scale,
            frozen=self.frozen,
            average=where_finite(is_finite, average, self.average),
        )


def create_state(
    params: Any,
    optimizer: optax.GradientTransformation,
    loss_scale: NoLossScale | DynamicLossScale,
    *,
    trains: Callable[[ParamPath], bool] = lambda path: True,
    average_decay: float = 0.0,
) -> TrainState:
    """Returns the state before the first step.

    Args:
      params: parameters of the model, nested dictionaries.
      optimizer: optimizer of the trained parameters.
      loss_scale: loss scale of the precision.
      trains: whether a parameter trains, by its path.
      average_decay: decay of the moving average of the parameters, 0 for none.
    """
    zero = jnp.zeros((), jnp.int32)
    trained, frozen = partition(params, trains)
    opt_state = jax.jit(optimizer.init)(trained)  # one program, not one for each shape
    average = NoAverage()
    if average_decay:  # of copies, since both trees are donated to the first step
        average = MovingAverage(jax.tree.map(jnp.array, trained), average_decay)
    return TrainState(zero, zero, trained, opt_state, loss_scale, frozen, average)
