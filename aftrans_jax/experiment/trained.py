"""A trained model from its working directory."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
from absl import logging

from aftrans_jax.experiment.checks import check
from aftrans_jax.experiment.data import image_sizes
from aftrans_jax.experiment.lists import has_validation
from aftrans_jax.experiment.model import Model, blank_params, build_model, predicting_logits
from aftrans_jax.experiment.workdir import (
    configured,
    read_classes,
    read_result,
    read_settings,
)
from aftrans_jax.training.checkpoints import Checkpoints


class Trained(NamedTuple):
    """A model as a run left it: module, parameters, names of its classes, and image sizes.

    `name` is `model.name`. `sizes` are `image_size` and `resize_size` in pixels, arguments of
    `data.loading.transforms.test_transform`. `predict_from` names the logits that the run reports;
    `result` is what result.json holds, empty where there is none that can be read. Larger
    photos than `max_pixels` are refused.
    """

    name: str
    model: Model
    params: Mapping[str, Any]
    class_names: tuple[str, ...]
    sizes: Mapping[str, int]
    predict_from: str
    result: Mapping[str, Any]
    max_pixels: int


def load_trained(workdir: Path, *, say: Callable[[str], None] = logging.warning) -> Trained:
    """Returns the model of a working directory at the checkpoint it reports, for one device.

    That is the best one where validation images were held out, else the newest. The model computes
    in float32, whatever the precision of training. Nothing in the directory is changed.

    Args:
      workdir: of a run, which may still be training.
      say: shows a line to the user.

    Raises:
      FileNotFoundError: no run has left a configuration and a checkpoint there.
      ValueError: no checkpoint can be used, a record is damaged, or the configuration is none that
        can be trained.
    """
    settings = read_settings(workdir)
    if settings is None or not (workdir / "classes.json").exists():
        absent = workdir / ("classes.json" if settings else "config.json")
        raise FileNotFoundError(
            f"{absent} is absent: --workdir must name the folder of a training run"
        )
    config, class_names = configured(settings), read_classes(workdir)
    config.model.attention = "auto"  # the run's kernel may not exist on this device
    check(config, num_devices=1)
    model = build_model(config, len(class_names), jnp.dtype("float32"))
    template = blank_params(config, model)
    logits = predicting_logits(config)
    best_score = f"{logits}_accuracy"
    checkpoints = Checkpoints(workdir / "checkpoints", best_score=best_score, say=say)
    best = (
        checkpoints.restore_best(template, part="params/")
        if has_validation(workdir, settings)
        else None
    )
    params = checkpoints.restore_latest(template, part="params/") if best is None else best[0]
    if params is None:
        raise FileNotFoundError(f"{checkpoints.directory} holds no checkpoint: train first")
    names, sizes = tuple(class_names), image_sizes(config)
    result = read_result(workdir) or {}
    name, max_pixels = config.model.name, config.data.max_pixels
    return Trained(name, model, params, names, sizes, logits, result, max_pixels)
