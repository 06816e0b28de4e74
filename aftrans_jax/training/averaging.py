"""The moving average of the parameters, which is evaluated and answers where it is kept."""

from typing import Any

import flax.struct
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int


@flax.struct.dataclass
class NoAverage:
    """Keeps nothing, in the place of a `MovingAverage`."""

    def after(self, params: Any, step: Int[Array, ""]) -> "NoAverage":
        """Returns itself."""
        del params, step
        return self

    def of(self, params: Any) -> Any:
        """Returns the parameters as they are."""
        return params


@flax.struct.dataclass
class MovingAverage:
    """Exponential moving average of what trains, which starts as the parameters do.

    In step t, from 1 on, the decay is at most (1 + t) / (10 + t): the average is over about the
    last tenth of the steps until that is 1 / (1 - decay) of them. So a short training's is not
    that of its start, and what was before the first step is forgotten as t^-9.

    Attributes:
      params: the average.
      decay: that a long training reaches.

    Follows: TensorFlow ExponentialMovingAverage with num_updates.
    """

    params: Any
    decay: float = flax.struct.field(pytree_node=False)

    def after(self, params: Any, step: Int[Array, ""]) -> "MovingAverage":
        """Returns the average after a step, counted from 1, that left these parameters."""
        decay = jnp.minimum(self.decay, (1.0 + step) / (10.0 + step))
        average = optax.incremental_update(params, self.params, 1 - decay)
        return MovingAverage(average, self.decay)

    def of(self, params: Any) -> Any:
        """Returns the average in the place of the parameters."""
        del params
        return self.params
