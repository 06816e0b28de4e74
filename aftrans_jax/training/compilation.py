"""The step of training, compiled for the devices of a mesh."""

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


class Step(NamedTuple):
    """The step of (state, batch) to (state, averages), compiled at its first call.

    Attributes:
      program: of the state, which is given away, a batch and the seed. So it is one for all seeds,
        and what is compiled for one of them is kept for the others.
      seed: of dropout and whatever else a step draws.
    """

    program: jax.stages.Wrapped
    seed: np.uint32

    def __call__(self, state: TrainState, batch: Mapping[str, Any]) -> tuple[TrainState, Averages]:
        """Returns the state after a batch, and what to average over batches."""
        return self.program(state, batch, self.seed)

    def lower(self, state: Any, batch: Any) -> jax.stages.Lowered:
        """Returns the program for a state and a batch, or their shapes, before it is compiled."""
        return self.program.lower(state, batch, self.seed)


def compiled_step(
    gradients: Gradients,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    sharing: ShardingStrategy,
    mesh: Mesh,
) -> Step:
    """Returns the step for the devices of a mesh.

    Gradients are computed on every device, from its own rows. The update is one program over all
    of them, in which XLA sums what it must of norms.

    Args:
      gradients: of what one device holds.
      optimizer: of the gradients.
      seed: of what the step draws, in which devices differ; from 0 to 2^32 - 1.
      sharing: of the state.
      mesh: of the devices.
    """

    def own(
        state: TrainState, batch: Mapping[str, Array], rng: PRNGKeyArray
    ) -> tuple[Any, Averages]:
        return gradients(state, batch, jax.random.fold_in(rng, device_index()))

    arguments, results = (
        (sharing.specs, BATCH_SPLIT, REPLICATED),
        (sharing.specs.params, REPLICATED),
    )
    each = on_each(own, mesh, arguments=arguments, results=results)
    step = partial(train_step, gradients=each, optimizer=optimizer)

    def seeded(
        state: TrainState, batch: Mapping[str, Array], seed: UInt32[Array, ""]
    ) -> tuple[TrainState, Averages]:
        return step(state, batch, jax.random.key(seed))

    given, made = (sharing.specs, BATCH_SPLIT, REPLICATED), (sharing.specs, REPLICATED)
    program = jax.jit(
        seeded,
        in_shardings=shardings(given, mesh),
        out_shardings=shardings(made, mesh),
        donate_argnums=0,
        compiler_options=xla_options(mesh.devices.flat[0].platform),
    )
    return Step(program, np.uint32(seed))
