"""The functions of `import aftrans_jax`.

None of them reads flags or changes settings of jax.
"""

import copy
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from aftrans_jax import configs
from aftrans_jax.config import Config, base_config, expand_paths
from aftrans_jax.config_files import check_argument, get_config_of, packaged
from aftrans_jax.experiment.auto_settings import resolve_auto
from aftrans_jax.experiment.model import Model, initial_params
from aftrans_jax.inference.classifier import Classifier
from aftrans_jax.inference.options import BATCH_SIZE
from aftrans_jax.inference.trained_model import load_trained, suited_model
from aftrans_jax.paths import expand
from aftrans_jax.run.launch import launch_training
from aftrans_jax.run.signals import StopRequest


class Created(NamedTuple):
    """A model before training: a Flax module, and its parameters as nested arrays.

    `module.apply({"params": params}, images, train=False)` takes square images [batch height width
    3], of `data.image_size` or larger, of pixel values 0..255, as uint8 or as floats, and returns a
    `model.ModelOutput`. It is to be called inside `jax.jit`: outside, operations run one by one.
    Shapes are checked, values are not: floats from 0 to 1 would count as black images.
    """

    module: Model
    params: dict[str, Any]


def load(
    path: str | os.PathLike[str],
    *,
    head: str | None = None,
    batch_size: int = BATCH_SIZE,
    precision: str = "float32",
) -> Classifier:
    """Returns a trained model as a function of photos, which all devices of this process share.

    Args:
      path: working directory of a run, which may still be training, or an exported model.
      head: logits that predict: "global", "local" or "sum"; None for those that the run reports.
      batch_size: photos that the devices take at a time, together.
      precision: precision of the computation, "float32" or "bfloat16", whatever the training had.
        GPUs have fused attention only in bfloat16, from Ampere on.

    Raises:
      FileNotFoundError: there is no trained model.
      ValueError: it is damaged, or has no such head; or there is no such precision.
    """
    trained = load_trained(Path(expand(os.fspath(path))), precision=precision)
    return Classifier(trained, head=head, batch_size=batch_size)


def create(
    variant: str | None = None,
    *,
    num_classes: int,
    weights: str | os.PathLike[str] | None = None,
    config: Config | None = None,
    seed: int | None = None,
) -> Created:
    """Returns a model and its parameters before training: AFTrans, or the configuration's model.

    With weights, the trunk has theirs, the local branch's class token and positions start as the
    trunk's own, and the head is new; local tokens and SACM of a whole model are taken.
    Sizes, GELU and pixel values are those of the weights; assumptions about them, and changes made
    to fit them, are logged as warnings.

    Args:
      variant: "ti16", "s16", "b16", ...; "auto": the weights' variant, without weights "b16".
      num_classes: width of the head, at least 1.
      weights: a file of a ViT, or an official name such as "imagenet21k/ViT-B_16", which is
        downloaded the first time; "": random ones.
      config: everything else: model, sizes, and where they are None variant, weights and seed;
        None: `config.base_config()`, which has random weights.
      seed: seed for everything random.

    Raises:
      FileNotFoundError, ValueError: the weights are missing, damaged or of another variant, or a
        value cannot be used.
      TypeError: `config` is no configuration.
    """
    num_classes = _whole("num_classes", num_classes, least=1)
    keys = base_config() if config is None else _copied(config)
    if variant is not None:
        keys.model.variant = str(variant)
    if seed is not None:
        keys.seed = _whole("seed", seed, least=0)
    if weights is not None:
        keys.pretrained = os.fspath(weights)
    expand_paths(keys)
    keys, left = resolve_auto(keys)
    model = suited_model(keys, num_classes)
    params, notes = initial_params(keys, model)
    for note in (*left, *notes):
        logging.warning(note)
    return Created(model, jax.tree.map(jnp.asarray, params))


def train(config: Config, workdir: str | os.PathLike[str]) -> Classifier:
    """Trains in a directory as `python -m aftrans_jax.main` does; returns the trained model.

    The same call resumes an interrupted run, and does not change a finished one. docs/training.md
    lists the files that the directory holds afterwards; `result` of the model is its result.json.

    Args:
      config: such as `get_config("cub")` with `config.data.dir` set; not changed.
      workdir: directory of the run.

    Raises:
      KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP ended it; the training so far is saved.
      ValueError, OSError, FloatingPointError: the configuration, the data, the weights or the
        contents of the directory cannot be used, or the training diverged.
      TypeError: `config` is no configuration.
    """
    if not os.fspath(workdir):
        raise ValueError("workdir is empty: expected the path of a directory for the run")
    place = Path(expand(os.fspath(workdir)))
    config = _copied(config)
    expand_paths(config)
    with StopRequest() as stop:
        launch_training(config, place, stop)
    return load(place)


def _copied(config: Any) -> Config:
    if not isinstance(config, ConfigDict):
        raise TypeError(
            f"config is {config!r:.80}: expected a configuration, such as "
            "aftrans_jax.get_config('folder') gives"
        )
    for key, value in flatten_dict(config.to_dict(), sep=".").items():
        if value is None:
            raise TypeError(f"config.{key} is None: expected a value, as in aftrans_jax/config.py")
    return copy.deepcopy(config)


def _whole(name: str, value: Any, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name}={value!r}: expected a whole number, {least} or more")
    return int(value)


def get_config(name: str | os.PathLike[str]) -> Config:
    """Returns a configuration of the package or of a file; its keys can be set, none added.

    Args:
      name: "cub", "folder", "demo", ..., or a path that ends in ".py"; an argument for its file
        follows a colon, as in "cub:recipe=paper".

    Raises:
      FileNotFoundError: there is no such configuration.
      ValueError: the file has no function get_config, or it takes no argument, or not this one.
    """
    given, colon, argument = os.fspath(name).partition(":")
    folder = Path(configs.__path__[0])
    is_path = given.endswith(".py")
    path = packaged(Path(expand(given)), folder) if is_path else folder / f"{given}.py"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("[!_]*.py")))
        raise FileNotFoundError(
            f"{name!r} is no configuration: expected one of {known}, or the path of a file .py"
        )
    get = get_config_of(path)
    if colon:
        check_argument(get, given, argument)
    return get(*([argument] if colon else []))
