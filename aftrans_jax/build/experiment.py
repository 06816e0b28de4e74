"""Everything that a run needs."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array

from aftrans_jax.build.checks import check
from aftrans_jax.build.data import DATASETS, global_eval_batches, global_train_batches
from aftrans_jax.build.model import build_model, build_optimizer, initial_params
from aftrans_jax.config import Config
from aftrans_jax.data.examples import Dataset
from aftrans_jax.training import sharding
from aftrans_jax.training.evaluation import Evaluation, eval_step, evaluate
from aftrans_jax.training.loop import StepFn
from aftrans_jax.training.precision import PRECISIONS
from aftrans_jax.training.state import TrainState, create_state
from aftrans_jax.training.train_step import train_step


class Plan(NamedTuple):
    """How long and how often; `*_every` count batches, `batch_size` is over all devices.

    Choice: plain numbers, so that the run reads no configuration.
    """

    model_name: str
    dtype: str
    num_steps: int
    batch_size: int
    report_every: int
    save_every: int
    evaluate_every: int
    predict_from: str
    tensorboard: bool


class Experiment(NamedTuple):
    """What a run needs; every function is compiled at its first call.

    state: before the first step, on all devices. notes: what was changed to fit the weights.
    train_batches: number of the first batch -> endless global batches.
    evaluate: state -> evaluation of the whole test split.

    Choice: the run reads this, never a configuration.
    """

    plan: Plan
    dataset: Dataset
    mesh: Mesh
    state: TrainState
    notes: tuple[str, ...]
    schedule: optax.Schedule
    train_step: StepFn
    train_batches: Callable[[int], Iterator[Mapping[str, Array]]]
    evaluate: Callable[[TrainState], Evaluation]


def build(config: Config) -> Experiment:
    """Returns the experiment that a configuration describes, weights loaded.

    Raises:
      ValueError: a value is unknown or does not go with the others.
      FileNotFoundError: the data or the weights are not where the configuration says.

    Choice: everything that can be wrong is found here, before the first step.
    """
    mesh = sharding.data_mesh()
    check(config, num_devices=mesh.size)
    dataset = DATASETS[config.data.name](config.data)
    precision = PRECISIONS[config.train.precision]()
    num_classes = len(dataset.class_names)
    model = build_model(config, num_classes, precision.dtype, mesh)
    params, notes = initial_params(config, build_model(config, num_classes, precision.dtype))
    schedule, optimizer = build_optimizer(config)
    state = create_state(params, optimizer, precision.loss_scale)
    rules = {
        "model": model,
        "loss_weights": {"global": config.loss.alpha, "local": config.loss.beta},
        "predict_from": config.eval.logits,
    }
    return Experiment(
        _plan(config, precision.dtype),
        dataset,
        mesh,
        sharding.replicate(jax.device_get(state), mesh),
        notes,
        schedule,
        _compile(partial(train_step, optimizer=optimizer, **rules), config.seed, mesh),
        partial(global_train_batches, config, dataset, mesh),
        _evaluator(config, dataset, mesh, partial(eval_step, **rules)),
    )


def _plan(config: Config, dtype: jnp.dtype) -> Plan:
    return Plan(
        model_name=config.model.name,
        dtype=dtype.name,
        num_steps=config.train.steps,
        batch_size=config.train.batch_size,
        report_every=config.train.report_every,
        save_every=config.train.save_every,
        evaluate_every=config.eval.every,
        predict_from=config.eval.logits,
        tensorboard=config.report.tensorboard,
    )


def _compile(step: Callable, seed: int, mesh: Mesh) -> StepFn:
    whole, split = sharding.replicated(mesh), sharding.split_batch(mesh)
    compiled = jax.jit(
        step, in_shardings=(whole, split, whole), out_shardings=whole, donate_argnums=0
    )
    rng = sharding.replicate(jax.random.key_data(jax.random.key(seed)), mesh)
    return lambda state, batch: compiled(state, batch, jax.random.wrap_key_data(rng))


def _evaluator(
    config: Config, dataset: Dataset, mesh: Mesh, step: Callable
) -> Callable[[TrainState], Evaluation]:
    whole, split = sharding.replicated(mesh), sharding.split_batch(mesh)
    compiled = jax.jit(step, in_shardings=(whole, split), out_shardings=(whole, split))
    # Every device gets equally many rows; padding is masked, so the size may be rounded up.
    batch_size = -(-config.eval.batch_size // mesh.size) * mesh.size
    num_test = len(dataset.test)
    shown = np.linspace(0, num_test - 1, min(config.report.num_images, num_test))
    keep = set(shown.round().astype(int).tolist())

    def run(state: TrainState) -> Evaluation:
        return evaluate(
            partial(compiled, state.params),
            global_eval_batches(config, dataset, mesh, batch_size),
            keep=keep,
            batch_size=batch_size,
        )

    return run
