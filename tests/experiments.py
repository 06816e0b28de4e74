"""A run of seconds: the built-in birds at 32 px on a trunk of two narrow layers."""

import contextlib
import copy
import functools
import json
from pathlib import Path
from typing import Any
from unittest import mock

import jax

import aftrans_jax.experiment.auto_settings
import aftrans_jax.experiment.checks
import aftrans_jax.experiment.model
import aftrans_jax.experiment.optimization
import aftrans_jax.experiment.weights_checks
from aftrans_jax.config import base_config
from aftrans_jax.experiment.build import Experiment, build
from aftrans_jax.model.variants import Variant
from aftrans_jax.run.signals import StopRequest
from aftrans_jax.run.training import run
from aftrans_jax.training import sharding
from aftrans_jax.training.state import TrainState

NUM_TEST = 20
_VARIANTS = {"mini8": Variant(patch_size=8, hidden=12, mlp=20, layers=2, heads=2)}


def tiny_config(**changes):
    """`base_config` at its smallest; keys are written `group__name`."""
    tiny = {
        "model__variant": "mini8",
        "model__stride": 8,
        "model__gelu": "tanh",
        "data__name": "synthetic",
        "data__image_size": 32,
        "data__source_size": 32,
        "data__mean": (0.5, 0.5, 0.5),
        "data__std": (0.5, 0.5, 0.5),
        "data__local_size": 24,
        "data__num_train": 24,
        "data__num_test": NUM_TEST,
        "data__num_threads": 1,
        "region__min_box": 8,
        "train__steps": 6,
        "train__batch_size": 8,
        "train__learning_rate": 0.1,
        "train__warmup_steps": 1,
        "train__report_every": 1,
        "eval__batch_size": 8,
        "report__num_images": 2,
        "report__tensorboard": False,
    }
    return _changed(base_config(), tiny | changes)


def _changed(config, changes):
    config.update_from_flattened_dict({key.replace("__", "."): changes[key] for key in changes})
    return config


def edit(workdir: Path, key: str, value: object) -> None:
    """Changes a recorded setting by hand, as README says: the line of the checksum goes."""
    path = workdir / "config.json"
    lines = path.read_text().splitlines()
    (checksum,) = (line for line in lines if '"checksum"' in line)
    lines.remove(checksum)
    settings = json.loads("\n".join(lines))
    group, _, name = key.partition(".")
    settings[group][name] = value
    path.write_text(json.dumps(settings))


@contextlib.contextmanager
def tiny_variants():
    """The built-in variant is two narrow layers, whose arrays are large enough to be split."""
    with contextlib.ExitStack() as patched:
        rooms = aftrans_jax.experiment
        modules = (rooms.model, rooms.checks, rooms.auto_settings, rooms.optimization)
        for module in (*modules, rooms.weights_checks):
            patched.enter_context(mock.patch.object(module, "VARIANTS", _VARIANTS))
        patched.enter_context(mock.patch.object(sharding, "SMALLEST", 64))
        yield


def tiny_experiment(num_devices=None, **changes) -> Experiment:
    """The experiment of `tiny_config`, on the first few devices or on all."""
    mesh = sharding.device_mesh(jax.devices()[:num_devices])
    with tiny_variants(), mock.patch.object(sharding, "device_mesh", return_value=mesh):
        return build(tiny_config(**changes))


@functools.cache
def _compiled(num_devices, precision, changes) -> tuple[Experiment, TrainState]:
    experiment = tiny_experiment(num_devices, train__precision=precision, **dict(changes))
    return experiment, jax.device_get(experiment.state)


def train(experiment: Experiment, workdir: Path) -> dict[str, Any]:
    """Trains in a directory, or resumes what it holds; returns its result."""
    with StopRequest() as stop:
        return run(experiment, workdir, stop)


def with_settings(experiment: Experiment, **changes) -> Experiment:
    """The experiment, compiled as it is, with other settings; keys as of `tiny_config`."""
    return experiment._replace(config=_changed(copy.deepcopy(experiment.config), changes))


def fresh(num_devices=4, precision="float32", **changes) -> Experiment:
    """The same compiled experiment every time, at its start."""
    experiment, state = _compiled(num_devices, precision, tuple(sorted(changes.items())))
    state = sharding.placed(state, experiment.mesh, experiment.specs)
    return experiment._replace(state=state)
