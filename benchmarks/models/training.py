"""A training step of a case, on random weights and pixels."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from aftrans_jax.config import Config
from aftrans_jax.experiment.model import loss_weights
from aftrans_jax.experiment.optimization import build_optimizer
from aftrans_jax.training.precision import PRECISIONS
from aftrans_jax.training.sharding import SINGLE_DEVICE, ShardingStrategy
from aftrans_jax.training.state import create_state
from aftrans_jax.training.train_step import Gradients, mean_gradients, train_step
from aftrans_jax.training.xla_options import xla_options
from benchmarks.harness.memory import executable_bytes
from benchmarks.models.cases import NUM_CLASSES, Case


def param_shapes(model: nn.Module, side: int) -> Any:
    """Returns the shapes of a model's parameters for images with a side in pixels."""
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.uint8)
    return jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)["params"]


def random_params(model: nn.Module, side: int) -> Any:
    """Returns parameters of the size that training gives them, instead of initial zeros."""
    rng = np.random.default_rng(0)

    def draw(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        centre = 1 if path[-1].key == "scale" else 0
        return centre + np.float32(0.02) * rng.standard_normal(leaf.shape, np.float32)

    return jax.tree_util.tree_map_with_path(draw, param_shapes(model, side))


def random_batch(size: int, batch_size: int) -> dict[str, Array]:
    """Returns a batch like the loader's, on the device."""
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (batch_size, size, size, 3), np.uint8),
        "label": rng.integers(0, NUM_CLASSES, batch_size, np.int32),
        "mask": np.ones(batch_size, bool),
    }
    return jax.device_put(batch)


def step_function(
    model: nn.Module, optimizer: optax.GradientTransformation, config: Config
) -> Callable[..., Any]:
    """Returns the step of `aftrans_jax.main` from state, batch and rng, for one device."""
    gradients = gradients_function(model, config, SINGLE_DEVICE)
    return partial(train_step, gradients=gradients, optimizer=optimizer)


def gradients_function(model: nn.Module, config: Config, strategy: ShardingStrategy) -> Gradients:
    """Returns the gradients for one device's rows, from state, batch and rng."""
    return partial(
        mean_gradients,
        model=model,
        loss_weights=loss_weights(config),
        head="global",
        accumulation_steps=config.train.accumulation_steps,
        strategy=strategy,
    )


class Step:
    """A training step of a case, compiled; each call is one more step.

    Attributes:
      executable_bytes: most memory that a call holds.
    """

    def __init__(
        self,
        case: Case,
        config: Config,
        batch_size: int,
        *,
        generator: str = "threefry2x32",
        compiler_options: Mapping[str, Any] | None = None,
    ) -> None:
        """Compiles the step that `aftrans_jax.main` runs, on one device.

        Args:
          case: case to train.
          config: configuration of the run.
          batch_size: size of the one batch that every call gets.
          generator: generator of random numbers, which only dropout uses.
          compiler_options: XLA's options by name; None: those of a run.
        """
        if compiler_options is None:
            compiler_options = xla_options(jax.default_backend())
        precision = PRECISIONS[config.train.precision]()
        model = case.make(config, precision.dtype)
        side = config.data[case.branches[0]]
        self._batch = random_batch(side, batch_size)
        _, optimizer = build_optimizer(config)
        state = create_state(random_params(model, side), optimizer, precision.loss_scale)
        # Through the host: some counters are one array, which cannot be donated twice.
        self._state = jax.device_put(jax.device_get(state))
        self._rng = jax.random.key(0, impl=generator)
        step = jax.jit(step_function(model, optimizer, config), donate_argnums=0)
        lowered = step.lower(self._state, self._batch, self._rng)
        self._compiled = lowered.compile(compiler_options=dict(compiler_options))
        self.executable_bytes = executable_bytes(self._compiled)

    def __call__(self) -> Any:
        """Returns all results of the step, not awaited."""
        self._state, metrics = self._compiled(self._state, self._batch, self._rng)
        return self._state, metrics
