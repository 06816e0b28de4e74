"""The moving average of the parameters, which replaces them in evaluation where it is kept."""

from typing import Any

import flax.struct
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int


@flax.struct.dataclass
class NoAverage:
    """No average, in place of `MovingAverage`."""

    def after(self, params: Any, step: Int[Array, ""]) -> "NoAverage":
        """Returns itself."""
        del params, step
        return self

    def of(self, params: Any) -> Any:
        """Returns the parameters as they are."""
        return params


@flax.struct.dataclass
class MovingAverage:
    """Exponential moving average of the trained parameters, starting from their first values.

    In step t, from 1 on, the decay is at most (1 + t) / (10 + t): the average covers about the last
    tenth of the steps, until that is 1 / (1 - decay) steps. So a short training does not average
    its start, and the weight of the values before the first step falls as t^-9.

    Attributes:
      params: averaged parameters.
      decay: largest decay, which a long training reaches.

    Follows: TensorFlow ExponentialMovingAverage with num_updates.
    """

    params: Any
    decay: float = flax.struct.field(pytree_node=False)

    def after(self, params: Any, step: Int[Array, ""]) -> "MovingAverage":
        """Returns the average updated with the parameters after a step, counted from 1."""
        decay = jnp.minimum(self.decay, (1.0 + step) / (10.0 + step))
        average = optax.incremental_update(params, self.params, 1 - decay)
        return MovingAverage(average, self.decay)

    def of(self, params: Any) -> Any:
        """Returns the averaged parameters."""
        del params
        return self.params
