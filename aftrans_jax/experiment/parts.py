"""`build` makes an `Experiment`, everything that a run needs, from a configuration."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array

from aftrans_jax.config import Config
from aftrans_jax.data.examples import Dataset, Source
from aftrans_jax.data.loading.skipped import Skipped
from aftrans_jax.experiment.batches import global_eval_batches, global_train_batches
from aftrans_jax.experiment.checks import check
from aftrans_jax.experiment.classes import Evaluated
from aftrans_jax.experiment.data import load_dataset
from aftrans_jax.experiment.model import (
    blank_params,
    build_model,
    build_optimizer,
    initial_params,
)
from aftrans_jax.training import sharding
from aftrans_jax.training.evaluation import Evaluation, eval_step, evaluate
from aftrans_jax.training.loop import StepFn
from aftrans_jax.training.metrics import Averages
from aftrans_jax.training.precision import PRECISIONS
from aftrans_jax.training.state import TrainState, create_state
from aftrans_jax.training.train_step import train_step


class Plan(NamedTuple):
    """The settings that the run itself reads, as plain values.

    `num_steps` counts optimizer steps, `*_every` batches; `batch_size` is over all devices;
    `predict_from` is "global", "local" or "sum"; above `largest_loss` a training has diverged.
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
    largest_loss: float


class Experiment(NamedTuple):
    """What a run needs; it reads this and never a configuration.

    Attributes:
      plan: its settings.
      dataset: with its splits.
      mesh: the devices.
      state: before the first step, on the host.
      notes: what a user should know, a line each.
      schedule: learning rate by step.
      train_step: (state, batch) -> (state, averages); compiled at its first call.
      train_batches: number of the first batch -> endless global batches.
      evaluate: by split, "validation" or "test": state -> evaluation of the whole split.
      skipped: by split, the images that could not be read; empty where they are errors.
    """

    plan: Plan
    dataset: Dataset
    mesh: Mesh
    state: TrainState
    notes: tuple[str, ...]
    schedule: optax.Schedule
    train_step: StepFn
    train_batches: Callable[[int], Iterator[Mapping[str, Array]]]
    evaluate: Mapping[str, Callable[[TrainState], Evaluation]]
    skipped: Mapping[str, Skipped]


def build(
    config: Config, *, restores: bool = False, evaluated: Evaluated | None = None
) -> Experiment:
    """Returns the experiment that a configuration describes, with its weights loaded.

    The configuration and the lists of images are checked here, before the first step.

    Args:
      config: of the run.
      restores: every parameter will come from a checkpoint; `pretrained` is not read.
      evaluated: for an evaluation, see `experiment.data.load_dataset`.

    Raises:
      ValueError: a value is unknown or does not go with the others.
      FileNotFoundError: the data or the weights are not where the configuration says.
    """
    mesh = sharding.data_mesh()
    check(config, num_devices=mesh.size if evaluated is None else 1)  # an evaluation pads batches
    dataset, notes = load_dataset(config, evaluated)
    splits = dataset.splits()
    skip = config.data.on_error == "skip"
    skipped = {name: Skipped(source) for name, source in splits.items() if skip}
    precision = PRECISIONS[config.train.precision]()
    num_classes = len(dataset.class_names)
    model = build_model(config, num_classes, precision.dtype)
    if restores:
        params, changes = blank_params(config, model), ()
    else:
        params, changes = initial_params(config, model)
    schedule, optimizer = build_optimizer(config)
    state = create_state(params, optimizer, precision.loss_scale)
    shared = {
        "model": model,
        "loss_weights": {"global": config.loss.alpha, "local": config.loss.beta},
        "predict_from": config.eval.logits,
        "all_sum": sharding.all_sum,
    }
    updating = {"optimizer": optimizer, "accumulation_steps": config.train.accumulation_steps}
    evaluator = _evaluator(config, mesh, partial(eval_step, **shared))
    return Experiment(
        _plan(config, precision.dtype, num_classes),
        dataset,
        mesh,
        jax.device_get(state),
        (*notes, *(f"pretrained: {change}" for change in changes)),
        schedule,
        _compile(partial(train_step, **updating, **shared), config.seed, mesh),
        partial(global_train_batches, config, dataset.train, mesh, skipped.get("train")),
        {
            name: evaluator(source, skipped.get(name))
            for name, source in splits.items()
            if name != "train"
        },
        skipped,
    )


def _plan(config: Config, dtype: jnp.dtype, num_classes: int) -> Plan:
    # Guessing costs log(classes) in each branch; a model three times as bad as that is no longer
    # learning. A bound from the losses so far would have to be stored, and depends on the start.
    weights = config.loss.alpha + (config.loss.beta if config.model.name == "aftrans" else 0)
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
        largest_loss=3 * weights * math.log(num_classes),
    )


def _compile(step: Callable, seed: int, mesh: Mesh) -> StepFn:
    def with_rng(state: TrainState, batch: Mapping[str, Array]) -> tuple[TrainState, Averages]:
        rng = jax.random.fold_in(jax.random.key(seed), sharding.device_index())
        return step(state, batch, rng)

    arguments, results = (sharding.WHOLE, sharding.SPLIT), (sharding.WHOLE, sharding.WHOLE)
    return sharding.per_device(with_rng, mesh, arguments=arguments, results=results, donate=(0,))


def _evaluator(
    config: Config, mesh: Mesh, step: Callable
) -> Callable[[Source, Skipped | None], Callable[[TrainState], Evaluation]]:
    """Returns a function that makes the evaluation of a source; all share one compiled step."""
    specs = (sharding.WHOLE, sharding.SPLIT)
    compiled = sharding.per_device(step, mesh, arguments=specs, results=specs)
    # Every device gets equally many rows; padding is masked, so the size may be rounded up.
    batch_size = -(-config.eval.batch_size // mesh.size) * mesh.size
    num_shown = config.report.num_images

    def run(source: Source, skipped: Skipped | None, state: TrainState) -> Evaluation:
        shown = np.linspace(0, len(source) - 1, min(num_shown, len(source)))
        return evaluate(
            partial(compiled, state.params),
            global_eval_batches(config, source, mesh, skipped, batch_size),
            keep=set(shown.round().astype(int).tolist()),
            batch_size=batch_size,
        )

    return lambda source, skipped: partial(run, source, skipped)
