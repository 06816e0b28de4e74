"""A trained model from its working directory."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from aftrans_jax.config import Config
from aftrans_jax.experiment.checks import check
from aftrans_jax.experiment.data import image_sizes
from aftrans_jax.experiment.model import Model, build_model, build_optimizer
from aftrans_jax.training.checkpoints import Checkpoints
from aftrans_jax.training.precision import PRECISIONS
from aftrans_jax.training.state import TrainState, create_state


class Trained(NamedTuple):
    """A model as a run left it: module, parameters, names of its classes, and image sizes.

    `sizes` are `image_size` and `resize_size` in pixels, arguments of
    `data.loading.transforms.test_transform`. `predict_from` names the logits that the run reports;
    `result` is what result.json holds, empty where there is none that can be read.
    """

    model: Model
    params: Mapping[str, Any]
    class_names: tuple[str, ...]
    sizes: Mapping[str, int]
    predict_from: str
    result: Mapping[str, Any]


def load_trained(workdir: Path) -> Trained:
    """Returns the model of a working directory at the checkpoint it reports, for one device.

    That is the best one where validation images were held out, else the newest. The model computes
    in float32, whatever the precision of training.

    Raises:
      FileNotFoundError: no run has left a configuration and a checkpoint there.
      ValueError: no checkpoint can be used, or the configuration is none that can be trained.
    """
    try:
        config: Config = ConfigDict(
            json.loads((workdir / "config.json").read_text(encoding="utf-8"))
        )
        class_names = json.loads((workdir / "classes.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error.filename} is absent: --workdir must name the folder of a training run"
        ) from error
    config.model.attention = "auto"  # the run's kernel may not exist on this device
    check(config, num_devices=1)
    model = build_model(config, len(class_names), jnp.dtype("float32"))
    loss_scale = PRECISIONS[config.train.precision]().loss_scale
    size = config.data.image_size

    def new_state() -> TrainState:
        images = jnp.zeros((1, size, size, 3), jnp.uint8)
        params = model.init(jax.random.key(0), images, train=False)["params"]
        return create_state(params, build_optimizer(config)[1], loss_scale)

    template = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(new_state))
    best_score = f"{config.eval.logits}_accuracy"
    checkpoints = Checkpoints(workdir / "checkpoints", best_score=best_score)
    best = checkpoints.restore_best(template) if config.data.validation_fraction else None
    state = checkpoints.restore_latest(template) if best is None else best[0]
    checkpoints.close()
    if state is None:
        raise FileNotFoundError(f"{checkpoints.directory} holds no checkpoint: train first")
    sizes, result = image_sizes(config), _read_result(workdir / "result.json")
    names = tuple(class_names)
    return Trained(model, state.params, names, sizes, config.eval.logits, result)


def _read_result(path: Path) -> dict[str, Any]:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # absent, unreadable, no JSON
        return {}
    return result if isinstance(result, dict) else {}
