"""`build` makes an `Experiment`, everything that a run needs, from a configuration."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax
from absl import logging
from jax.sharding import Mesh
from jaxtyping import Array

from aftrans_jax.config import Config
from aftrans_jax.data.examples import Dataset
from aftrans_jax.data.loading.skipped import Skipped
from aftrans_jax.experiment.agreement import check_agreement
from aftrans_jax.experiment.auto_settings import resolve_auto, with_steps
from aftrans_jax.experiment.batches import (
    global_train_batches,
    processes_here,
)
from aftrans_jax.experiment.checks import check
from aftrans_jax.experiment.classes import Evaluated
from aftrans_jax.experiment.data import load_dataset
from aftrans_jax.experiment.evaluator import Evaluator, build_evaluator
from aftrans_jax.experiment.model import (
    MODELS,
    Model,
    blank_params,
    build_model,
    initial_params,
    loss_weights,
    predicting_head,
)
from aftrans_jax.experiment.optimization import build_optimizer, build_state, rate_notes
from aftrans_jax.experiment.recipe import Recipe, build_recipe, check_evaluations
from aftrans_jax.model.attention import KERNELS
from aftrans_jax.training import sharding
from aftrans_jax.training.compilation import CompiledStep, compiled_step
from aftrans_jax.training.precision import PRECISIONS, automatic_note
from aftrans_jax.training.preparation import prepared
from aftrans_jax.training.state import TrainState
from aftrans_jax.training.train_step import mean_gradients
from aftrans_jax.training.utilisation import forward_flops, peak_flops


class Experiment(NamedTuple):
    """Everything that a run needs.

    Attributes:
      config: complete configuration, which the parts are built from and the run reads.
      dtype: name of the type that the model computes in.
      dataset: data set with its splits.
      mesh: mesh of the devices.
      specs: PartitionSpec of each array of a state.
      state: state before the first step, on the host.
      notes: notes for the user, one line each.
      schedule: learning rate by step.
      train_step: (state, batch) -> (state, averages); compiled at its first call.
      train_batches: number of the first batch -> endless global batches.
      evaluator: evaluator of the validation and test images.
      skipped: images that could not be read, by split; empty where they are errors.
      peak_speed: images per second at the devices' peak, NaN where that is not known.
      largest_loss: a training with a larger loss has diverged.
    """

    config: Config
    dtype: str
    dataset: Dataset
    mesh: Mesh
    specs: sharding.Specs
    state: TrainState
    notes: tuple[str, ...]
    schedule: optax.Schedule
    train_step: CompiledStep
    train_batches: Callable[[int], Iterator[Mapping[str, Array]]]
    evaluator: Evaluator
    skipped: Mapping[str, Skipped]
    peak_speed: float
    largest_loss: float


def build(
    config: Config,
    *,
    restores: bool = False,
    evaluated: Evaluated | None = None,
    say: Callable[[str], None] = logging.info,
) -> Experiment:
    """Returns the experiment that a configuration describes, checked, with its weights loaded.

    Args:
      config: configuration of the run.
      restores: whether all parameters will come from a checkpoint; `pretrained` is not read then.
      evaluated: for an evaluation, see `experiment.data.load_dataset`.
      say: shows a line to the user.

    Raises:
      ValueError: a value is unknown, contradicts others, or differs between processes.
      FileNotFoundError: the data or the weights are not where the configuration says.
    """
    # Of trainings, `launch` has resolved all but keys that are newer than their record.
    config, left = resolve_auto(config)
    mesh = sharding.device_mesh()
    trains = evaluated is None
    skips = config.data.on_error == "skip"
    check(config, num_devices=mesh.size if trains else 1, trains=trains)  # evaluation pads batches
    say(f"reading the data set {config.data.name}")
    config, dataset, notes = _loaded(config, evaluated)
    splits = dataset.splits()
    skipped = {name: Skipped(x, jax.process_count()) for name, x in splits.items() if skips}
    precision = PRECISIONS[config.train.precision]()
    num_classes = len(dataset.class_names)
    model = build_model(config, num_classes, precision.dtype)
    params, changes = _params(config, model, dataset.class_names, restores, say)
    check_agreement(config.to_dict(), dataset, params)
    schedule, optimizer = build_optimizer(config)
    state = build_state(config, params, optimizer, precision.loss_scale)
    strategy = sharding.STRATEGIES[config.train.sharding](state, mesh)
    recipe = build_recipe(config, lambda: dataset.train.labels, num_classes)
    gradients = _gradients(config, recipe, model=model, strategy=strategy)
    tested = {name: source for name, source in splits.items() if name != "train"}
    return Experiment(
        config=config,
        dtype=precision.dtype.name,
        dataset=dataset,
        mesh=mesh,
        specs=strategy.specs,
        state=jax.device_get(state),
        notes=(
            *left,
            *automatic_note(config.train.precision),
            *sharding.share_note(config.train.sharding, state, strategy.specs, mesh),
            *notes,
            *(f"pretrained: {change}" for change in changes),
        ),
        schedule=schedule,
        train_step=compiled_step(
            gradients, optimizer, seed=config.seed, strategy=strategy, mesh=mesh
        ),
        train_batches=partial(
            global_train_batches, config, dataset.train, mesh, skipped.get("train")
        ),
        evaluator=build_evaluator(config, model, mesh, tested, skipped),
        skipped=skipped,
        peak_speed=_peak_speed(config, model, params, mesh),
        largest_loss=_largest_loss(config, num_classes) * max(1, recipe.max_class_weight),
    )


def _loaded(config: Config, evaluated: Evaluated | None) -> tuple[Config, Dataset, Sequence[str]]:
    """Returns the configuration with its steps, the data set, and notes; checks a training."""
    dataset, notes = load_dataset(config, evaluated, processes_here())
    config = with_steps(config, len(dataset.train))
    holds_out = dataset.validation is not None
    if evaluated is None:
        notes += check_evaluations(config, has_validation=holds_out) + rate_notes(config)
    return config, dataset, notes


def _params(
    config: Config,
    model: Model,
    class_names: Sequence[str],
    restores: bool,
    say: Callable[[str], None],
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Returns the parameters before the first step, and notes; zeros where all are restored."""
    if restores:
        return blank_params(config, model), ()
    name = Path(config.pretrained).name
    say(f"reading the weights {name}" if name else "drawing random weights")
    return initial_params(config, model, class_names)


def _gradients(config: Config, recipe: Recipe, **parts: Any) -> Callable[..., Any]:
    """Returns the function for mean gradients of a device's rows, prepared by the recipe."""
    gradients = partial(
        mean_gradients,
        **parts,
        loss_weights=loss_weights(config),
        head=predicting_head(config),
        accumulation_steps=config.train.accumulation_steps,
        cross_entropy=recipe.cross_entropy,
    )
    return prepared(gradients, recipe.prepare)


def _largest_loss(config: Config, num_classes: int) -> float:
    # Guessing costs log(classes) in each branch; a model three times as bad as that is no longer
    # learning. A bound from the losses so far would have to be stored, and depends on the start.
    # Further terms stay below that, and are 0 where they have no weight.
    weights = loss_weights(config)
    if not MODELS[config.model.name].crops:
        del weights["local"]
    return 3 * sum(weights.values()) * math.log(num_classes)


def _peak_speed(config: Config, model: Model, params: Mapping[str, Any], mesh: Mesh) -> float:
    """Returns the images per second of training at the devices' peak, NaN if not known."""
    peak = peak_flops(model.vit.dtype.name)
    if peak is None or config.train.trainable != "all":  # the backward pass would be partial
        return math.nan
    seen = model.clone(vit=model.vit.clone(attention=KERNELS["xla"]))
    forward = forward_flops(seen, params, config.data.source_size)
    return peak * mesh.size / (3 * forward)  # by convention a backward pass is two forward ones
