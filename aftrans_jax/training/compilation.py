"""The training step, compiled for the devices of a mesh."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, PRNGKeyArray, UInt32

from aftrans_jax.training.metrics import Averages
from aftrans_jax.training.sharding import (
    BATCH_SPLIT,
    REPLICATED,
    ShardingStrategy,
    device_index,
    on_each,
    shardings,
)
from aftrans_jax.training.state import TrainState
from aftrans_jax.training.train_step import Gradients, train_step
from aftrans_jax.training.xla_options import xla_options


class CompiledStep(NamedTuple):
    """The step from (state, batch) to (state, averages), compiled at its first call.

    Attributes:
      program: function of the state (donated), a batch and the seed. The seed is an argument, so
        that one compiled program serves all seeds and stays in the compilation cache.
      seed: seed for dropout and everything else that is random in a step.
    """

    program: jax.stages.Wrapped
    seed: np.uint32

    def __call__(self, state: TrainState, batch: Mapping[str, Any]) -> tuple[TrainState, Averages]:
        """Returns the state after a batch, and the averages that `mean_gradients` names."""
        return self.program(state, batch, self.seed)

    def lower(self, state: Any, batch: Any) -> jax.stages.Lowered:
        """Returns the lowered program for a state and a batch, or for their shapes."""
        return self.program.lower(state, batch, self.seed)


def compiled_step(
    gradients: Gradients,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    strategy: ShardingStrategy,
    mesh: Mesh,
) -> CompiledStep:
    """Returns the step for the devices of a mesh.

    Each device computes gradients from its own rows. The update is one program over all of them,
    in which XLA sums norms over devices where it has to.

    Args:
      gradients: function that gives one device's gradients.
      optimizer: optimizer for these gradients.
      seed: seed for everything random in a step, from 0 to 2^32 - 1; devices draw differently.
      strategy: how the state is sharded.
      mesh: mesh of the devices.
    """

    def own(
        state: TrainState, batch: Mapping[str, Array], rng: PRNGKeyArray
    ) -> tuple[Any, Averages]:
        return gradients(state, batch, jax.random.fold_in(rng, device_index()))

    arguments = (strategy.specs, BATCH_SPLIT, REPLICATED)
    results = (strategy.specs.params, REPLICATED)
    each = on_each(own, mesh, arguments=arguments, results=results)
    step = partial(train_step, gradients=each, optimizer=optimizer)

    def seeded(
        state: TrainState, batch: Mapping[str, Array], seed: UInt32[Array, ""]
    ) -> tuple[TrainState, Averages]:
        return step(state, batch, jax.random.key(seed))

    given = (strategy.specs, BATCH_SPLIT, REPLICATED)
    made = (strategy.specs, REPLICATED)
    program = jax.jit(
        seeded,
        in_shardings=shardings(given, mesh),
        out_shardings=shardings(made, mesh),
        donate_argnums=0,
        compiler_options=xla_options(mesh.devices.flat[0].platform),
    )
    return CompiledStep(program, np.uint32(seed))
