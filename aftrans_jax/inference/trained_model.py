"""A trained model, read from its working directory or from one file."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
from absl import logging

from aftrans_jax.config import Config
from aftrans_jax.experiment.checks import check
from aftrans_jax.experiment.data import image_sizes
from aftrans_jax.experiment.model import (
    MODELS,
    Model,
    blank_params,
    build_model,
    predicting_head,
)
from aftrans_jax.inference.options import PRECISIONS
from aftrans_jax.inference.single_file import read_saved, save
from aftrans_jax.settings import configured
from aftrans_jax.training.state import EVAL_PARAMS
from aftrans_jax.workdir.class_names import run_classes
from aftrans_jax.workdir.record import read_result, read_settings
from aftrans_jax.workdir.reported_checkpoint import restore_reported


class Trained(NamedTuple):
    """A model as a run left it.

    Attributes:
      name: value of `model.name`.
      model: the Flax module.
      params: its parameters.
      class_names: names of the classes, in the order of the head.
      sizes: `image_size` and `resize_size` in pixels, see `data.loading.transforms.test_transform`.
      head: logits that the run reports.
      result: contents of result.json, or only the step where the file is missing, damaged or of
        another step.
      max_pixels: most pixels that a photo may have.
      settings: the run's settings, by key.
      mirror: value of `eval.mirror`.
    """

    name: str
    model: Model
    params: Mapping[str, Any]
    class_names: tuple[str, ...]
    sizes: Mapping[str, int]
    head: str
    result: Mapping[str, Any]
    max_pixels: int
    settings: Mapping[str, Any]
    mirror: bool = False


def load_trained(
    path: Path, *, precision: str = "float32", say: Callable[[str], None] = logging.warning
) -> Trained:
    """Returns the model of a run.

    From a working directory this is the checkpoint that the run reports, see `restore_reported`,
    with the moving average of its parameters where the run kept one. Nothing is changed there.

    Args:
      path: working directory of a run, which may still be training, or a file written by
        `save_trained`.
      precision: precision of the computation, one of `PRECISIONS`, whatever the training had;
        parameters are float32.
      say: shows a line to the user.

    Raises:
      FileNotFoundError: there is no such file, and no run has left a configuration and a checkpoint
        there.
      ValueError: the file is damaged or of another kind, no checkpoint can be used, a record is
        damaged, or the configuration cannot be trained; or there is no such precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r}: choose one of {', '.join(PRECISIONS)}")
    if path.is_file():
        saved = read_saved(path)
        trained = _untrained(saved.settings, saved.class_names, saved.result, precision)
        return trained._replace(params=saved.fitted(trained.params))
    settings = read_settings(path)
    if settings is None:
        raise FileNotFoundError(
            f"{path / 'config.json'} is absent: expected the folder of a training run, as "
            "its --workdir was, or a file of python -m aftrans_jax.export --format=aftrans"
        )
    trained = _untrained(settings, run_classes(path, settings, say), {}, precision)
    restored = restore_reported(path, trained.params, say=say, prefixes=EVAL_PARAMS)
    result = read_result(path)
    if result is None or result["step"] != restored.step:  # such as before the run was lengthened
        result = {"step": restored.step}
    return trained._replace(params=restored.state, result=result)


def suited_model(config: Config, num_classes: int, precision: str = "float32") -> Model:
    """Returns the model of a configuration with the attention kernel that suits this device.

    Args:
      config: configuration, whose `model.attention` is set to that kernel: the training's may not
        exist here, or not compute in this precision.
      num_classes: number of classes of the head.
      precision: precision of the computation.

    Raises:
      ValueError: the configuration describes no model.
    """
    config.model.attention = "auto"
    check(config, num_devices=1, trains=False)
    return build_model(config, num_classes, jnp.dtype(precision))


def save_trained(path: Path, trained: Trained) -> None:
    """Writes a trained model as one file, complete or not at all; `load_trained` reads it."""
    save(path, trained.params, trained.settings, trained.class_names, trained.result)


def check_head(trained: Trained, head: str) -> None:
    """Raises a ValueError where a model has no such head."""
    if head not in MODELS[trained.name].heads:
        raise ValueError(
            f"--logits={head}: the run's model.name is {trained.name!r}, which has global logits "
            "only; use --logits=global"
        )


def _untrained(
    settings: Mapping[str, Any],
    class_names: Sequence[str],
    result: Mapping[str, Any],
    precision: str,
) -> Trained:
    """Returns the model of settings by key, with zeros for its parameters."""
    config = configured(settings)
    model = suited_model(config, len(class_names), precision)
    return Trained(
        name=config.model.name,
        model=model,
        params=blank_params(config, model),
        class_names=tuple(class_names),
        sizes=image_sizes(config),
        head=predicting_head(config),
        result=result,
        max_pixels=config.data.max_pixels,
        settings=settings,
        mirror=config.eval.mirror,
    )
