"""Changed settings of a run: which it may go on with, which a finished one takes, and notes."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aftrans_jax.json_files import write_json
from aftrans_jax.key_groups import EVAL_VIEWS, KEPT, NO_EFFECT, RESUMABLE, is_left, is_listed
from aftrans_jax.settings import configured
from aftrans_jax.training.checkpoint_numbers import checkpoint_numbers
from aftrans_jax.weights.names import weights_name
from aftrans_jax.workdir.record import read_result, trained_settings
from aftrans_jax.workdir.run_names import another_run, order, run_name

Changes = dict[str, tuple[Any, Any]]  # by key: the value then and now


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Changes:
    """Returns each key whose value differs, but for those that `new` leaves open.

    Weights of the same name count as equal, wherever they lie.
    """
    return {key: pair for key, pair in _differences(old, new).items() if not is_left(key, pair[1])}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Changes:
    keys = sorted(old.keys() & new.keys(), key=order)
    changed = {key: (old[key], new[key]) for key in keys if old[key] != new[key]}
    weights = changed.get("pretrained")
    if weights and weights_name(weights[0]) == weights_name(weights[1]):
        del changed["pretrained"]
    return changed


def check_may_train(workdir: Path, settings: Mapping[str, Any], elsewhere: str = "") -> None:
    """Checks that a training with these settings may start or go on in a directory.

    A damaged record is not reported here: the run itself does.

    Args:
      workdir: directory of a run, which need not have begun.
      settings: settings by key.
      elsewhere: advice on how to train elsewhere; "" proposes a directory.

    Raises:
      ValueError: a run with another training lies there, or a longer one.
    """
    check_same_training(workdir, changes(trained_settings(workdir), settings), elsewhere)
    if checkpoint_numbers(workdir / "checkpoints") and not is_left(
        "train.steps", settings["train.steps"]
    ):
        result = read_result(workdir) or {}  # a checkpoint's number is of batches, not of steps
        check_length(workdir, result.get("step", 0), settings, elsewhere)


def check_same_training(workdir: Path, changed: Changes, elsewhere: str = "") -> None:
    """Raises ValueError where a changed setting of a run is one that defines the training.

    The message has every such key with both values. `elsewhere`: see `check_may_train`.
    """
    defining = {key: pair for key, pair in changed.items() if not is_listed(key, RESUMABLE)}
    if defining:
        listed = "; ".join(
            f"{key} was {old!r}, is now {new!r}" for key, (old, new) in defining.items()
        )
        new = {key: value for key, (_, value) in defining.items()}
        raise ValueError(
            f"{workdir} holds a run that was trained with other settings: {listed}. Set them back "
            f"to go on with it, or {elsewhere or another_run(workdir, new)}"
        )


def check_length(
    workdir: Path, trained: int, settings: Mapping[str, Any], elsewhere: str = ""
) -> None:
    """Raises ValueError where a directory holds more trained steps than are wanted now.

    Args:
      workdir: directory of the run.
      trained: number of trained steps.
      settings: settings by key, with known steps; where epochs are given, steps follow from them.
      elsewhere: see `check_may_train`.
    """
    if trained > (num_steps := settings["train.steps"]):
        key = "train.steps"
        length = f"train.steps={num_steps}"
        if epochs := settings["train.epochs"]:
            key = "train.epochs"
            length = f"train.epochs={epochs}, which take {num_steps}"
        raise ValueError(
            f"{workdir} holds a run of {trained} trained steps, more than {length}: raise it to go "
            f"on, or {elsewhere or another_run(workdir, {key: settings[key]})}"
        )


def default_name(name: str, plain: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Returns the name of a run's directory: the configuration's, and what was changed in it.

    Args:
      name: name of the configuration, such as "cub".
      plain: settings by key as the configuration's file has them.
      settings: settings by key of the run.
    """
    changed = {}
    for key, (old, new) in _differences(plain, settings).items():
        moved = key == "data.dir" and Path(old).name == Path(new).name
        undecided = key in ("train.steps", "train.epochs") and not new  # the other one decides
        if not (moved or undecided or is_listed(key, NO_EFFECT)):
            changed[key] = new
    return run_name(name, changed)


def applied(changed: Changes) -> list[str]:
    """Returns a note for each changed setting that a run goes on with."""
    return [f"note: {key} was {old!r}, is now {new!r}" for key, (old, new) in changed.items()]


def unapplied(workdir: Path, changed: Changes) -> list[str]:
    """Returns notes on the changed settings of a finished run, most of which are not applied."""
    left = {key: f"{key}={new}" for key, (_, new) in changed.items() if key not in KEPT}
    scoring = [f"--config.{left[key]}" for key in ("eval.logits", *EVAL_VIEWS) if key in left]
    lines = applied({key: pair for key, pair in changed.items() if key in KEPT})
    if left:
        lines.append(f"note: not applied, since the run is finished: {', '.join(left.values())}")
    if scoring:
        command = shlex.join(["--mode=eval", f"--workdir={workdir}", *scoring])
        lines.append(f"note: to score it so, give {command}")
    return lines


def record_kept(workdir: Path, changed: Changes) -> None:
    """Writes those changed settings that a finished run takes to its record."""
    kept = {key: new for key, (_, new) in changed.items() if key in KEPT}
    if kept:
        settings = configured(trained_settings(workdir) | kept)
        write_json(workdir / "config.json", settings.to_dict())
