"""From flags to a run: directory, configuration, and whether to train or evaluate."""

import contextlib
import copy
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from aftrans_jax.config import Config
from aftrans_jax.experiment.auto_settings import resolve_auto
from aftrans_jax.experiment.build import build
from aftrans_jax.experiment.checks import check_one_length, check_values
from aftrans_jax.experiment.classes import Evaluated
from aftrans_jax.experiment.data import read_lists
from aftrans_jax.key_groups import is_left
from aftrans_jax.paths import check_place
from aftrans_jax.run.evaluation import (
    evaluate_run,
    evaluation_settings,
    free_name,
)
from aftrans_jax.run.results import recorded_line
from aftrans_jax.run.signals import StopRequest
from aftrans_jax.run.training import run
from aftrans_jax.settings import configured, flat
from aftrans_jax.training.checkpoint_numbers import checkpoint_numbers
from aftrans_jax.training.checkpoint_writing import check_path
from aftrans_jax.training.reporting import Progress
from aftrans_jax.weights.names import is_downloaded
from aftrans_jax.workdir.class_names import run_classes
from aftrans_jax.workdir.contents import check_contents
from aftrans_jax.workdir.image_folders import used_images
from aftrans_jax.workdir.image_lists import list_notes
from aftrans_jax.workdir.lock import LOCK, locked
from aftrans_jax.workdir.record import finished_result, read_result, read_settings, trained_settings
from aftrans_jax.workdir.reported_checkpoint import absent_checkpoints
from aftrans_jax.workdir.setting_changes import check_may_train


def launch_training(
    config: Config, workdir: Path, stop: StopRequest, command: str = ""
) -> dict[str, Any]:
    """Trains in a directory, or resumes the run there; returns the contents of result.json.

    Whatever can be refused is refused before data are read and before anything is written. A
    command is recorded where one is given.

    Raises:
      FileNotFoundError: the directory holds the result of another length, and no checkpoint.
      Stopped, ValueError, OSError, FloatingPointError: see `run`.
    """
    check_place(workdir, f"--workdir={workdir}")
    check_path(workdir, f"--workdir={workdir}")
    if config.data.dir and workdir.resolve() == Path(config.data.dir).resolve():
        raise ValueError(
            f"--workdir={workdir} is the folder of the data, data.dir={config.data.dir}: expected "
            f"another one, such as --workdir={workdir / 'run'}"
        )
    check_contents(workdir)
    if jax.process_index() == 0 and (workdir / LOCK).exists():
        with locked(workdir):  # taken again by `run`
            pass
    recorded = trained_settings(workdir)
    config = _with_length(config, recorded)
    restores = bool(checkpoint_numbers(workdir / "checkpoints"))
    progress = Progress(config.train.steps)
    check_values(config)
    if is_downloaded(config.pretrained) and not recorded:
        place = Path(config.data.dir)
        is_list = config.data.name == "csv"
        if not config.data.dir or not place.exists() or place.is_file() != is_list:
            read_lists(config)  # reports errors before anything is downloaded
        progress.say(f"weights {config.pretrained}: downloaded the first time")
    with _remedy_where_moved(workdir, config, recorded):
        config, notes = resolve_auto(config, recorded)
    check_may_train(workdir, flat(config.to_dict()))  # `run` does again, once it has the lock
    train = config.train
    if not restores and (result := read_result(workdir)):
        if not finished_result(workdir, train.steps):
            length = f"train.steps={train.steps}" if train.steps else f"train.epochs={train.epochs}"
            ended = result["config"]["train"].get("steps")
            raise FileNotFoundError(
                f"{workdir} holds the result of train.steps={ended}, which cannot go on "
                f"to {length}: {absent_checkpoints(workdir)}"
            )
        progress.say(
            "already finished, and its checkpoints are gone: nothing to train. To train it again, "
            f"move {workdir / 'result.json'} away too"
        )
        progress.say(recorded_line(result))
        return result
    for line in notes:
        progress.say(line)
    with _remedy_where_moved(workdir, config, recorded):
        experiment = build(config, restores=restores, say=progress.say)
    return run(experiment, workdir, stop, command)


def launch_evaluation(config: Config, workdir: Path, given: Collection[str]) -> dict[str, Any]:
    """Scores the run in a directory; returns the contents of its `eval-<name>.json`.

    Args:
      config: configuration of this command; what defines the training comes from the record.
      workdir: directory of the run.
      given: keys that were set on the command line.

    Raises:
      FileNotFoundError: there is no run.
      ValueError: a given key contradicts the record, the set holds images of the training, or
        scores of another set would be replaced.
      OSError: from reading checkpoints or images.
    """
    recorded = read_settings(workdir)
    if recorded is None or not checkpoint_numbers(workdir / "checkpoints"):
        raise FileNotFoundError(
            f"--mode=eval: {absent_checkpoints(workdir)}, or pass the --workdir of a trained run"
        )
    remedy = (
        "the scores are written there. Give yourself the permission to, or evaluate a copy of the "
        "run"
    )
    check_place(workdir, f"--workdir={workdir}", remedy)
    chosen, notes = evaluation_settings(recorded, flat(config.to_dict()), given)
    name = free_name(workdir, recorded, chosen)
    config = configured(chosen)
    evaluated = Evaluated(run_classes(workdir, recorded, notes.append))
    if name != "test":
        config.data.validation_fraction = 0.0  # another set is not trained on
        used, unknown = used_images(workdir, Path(recorded["data.dir"]))
        evaluated = evaluated._replace(is_own=False, used=used)
        notes = notes + unknown
    progress = Progress(config.train.steps)
    with _remedy_where_moved(workdir, config, recorded):
        experiment = build(config, restores=True, evaluated=evaluated, say=progress.say)
    if evaluated.is_own:
        notes += list_notes(workdir, experiment.dataset)
    for line in (*experiment.notes, *notes):
        progress.say(line)
    return evaluate_run(experiment, workdir, name=name)


@contextlib.contextmanager
def _remedy_where_moved(
    workdir: Path, config: Config, recorded: Mapping[str, Any]
) -> Iterator[None]:
    """Gives an error the remedy for a run that exists where its data are gone from their place."""
    try:
        yield
    except OSError as error:
        place = config.data.dir
        if not place or place != recorded.get("data.dir") or os.path.exists(place):
            raise
        raise FileNotFoundError(
            f"data.dir={place} is not there: expected the photos that {workdir} was trained with; "
            "if the photos were moved, give --config.data.dir=NEW"
        ) from error


def _with_length(config: Config, recorded: Mapping[str, Any]) -> Config:
    """Returns a configuration whose steps and warm-up, where left open, are the recorded ones.

    The steps are taken from it only if the epochs are the recorded ones.

    Args:
      config: configuration, which is not changed.
      recorded: settings by key of the run to resume, empty for a new one.

    Raises:
      ValueError: both steps and epochs are above 0, and differ from the recorded pair.
    """
    config = copy.deepcopy(config)
    train = config.train
    epochs = recorded.get("train.epochs")
    if is_left("train.steps", train.steps) and train.epochs == epochs:
        train.steps = recorded["train.steps"]
    if (train.steps, train.epochs) != (recorded.get("train.steps"), epochs):
        check_one_length(config)
    if recorded and is_left("train.warmup_steps", train.warmup_steps):
        train.warmup_steps = recorded["train.warmup_steps"]
    return config
