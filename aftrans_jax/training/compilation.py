"""The step of training, compiled for the devices of a mesh."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import optax
from jax.sharding import Mesh
from jaxtyping import Array, PRNGKeyArray

from aftrans_jax.training.metrics import Averages
from aftrans_jax.training.sharding import (
    SPLIT,
    WHOLE,
    Sharing,
    device_index,
    on_each,
    shardings,
)
from aftrans_jax.training.state import TrainState
from aftrans_jax.training.train_step import Gradients, train_step
from aftrans_jax.training.xla_options import xla_options

Step = jax.stages.Wrapped  # of the state, which is given away, and a batch


def compiled_step(
    gradients: Gradients,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    sharing: Sharing,
    mesh: Mesh,
) -> Step:
    """Returns the step of (state, batch) to (state, averages), compiled at its first call.

    Gradients are computed on every device, from its own rows. The update is one program over all
    of them, in which XLA sums what it must of norms.

    Args:
      gradients: of what one device holds.
      optimizer: of the gradients.
      seed: of dropout and whatever else a step draws, in which devices differ.
      sharing: of the state.
      mesh: of the devices.
    """

    def own(
        state: TrainState, batch: Mapping[str, Array], rng: PRNGKeyArray
    ) -> tuple[Any, Averages]:
        return gradients(state, batch, jax.random.fold_in(rng, device_index()))

    arguments, results = (sharing.specs, SPLIT, WHOLE), (sharing.specs.params, WHOLE)
    each = on_each(own, mesh, arguments=arguments, results=results)
    step = partial(train_step, gradients=each, optimizer=optimizer)

    def seeded(state: TrainState, batch: Mapping[str, Array]) -> tuple[TrainState, Averages]:
        return step(state, batch, jax.random.key(seed))

    given, made = shardings((sharing.specs, SPLIT), mesh), shardings((sharing.specs, WHOLE), mesh)
    return jax.jit(
        seeded,
        in_shardings=given,
        out_shardings=made,
        donate_argnums=0,
        compiler_options=xla_options(mesh.devices.flat[0].platform),
    )
