"""Changed settings of a run: which of them it may have, and what is said and taken of them."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aftrans_jax.config import is_left
from aftrans_jax.json_files import write_json
from aftrans_jax.training.checkpoint_numbers import checkpoint_numbers
from aftrans_jax.weights.names import weights_name
from aftrans_jax.workdir.record import configured, read_result, trained_settings
from aftrans_jax.workdir.run_names import another_run, order, run_name

Changes = dict[str, tuple[Any, Any]]  # by key: the value then and now

# Tables of keys, in which a dot at the end means a whole group.
# What never changes a result, and so is not in a directory's name.
NO_EFFECT = (
    *("train.report_every", "train.save_every", "train.profile"),
    *("eval.every", "eval.batch_size", "report."),
    *("data.num_threads", "data.cache", "data.max_pixels", "data.on_error"),
)
# What the record of a finished run takes: where its data lie now, and its length, where a longer
# training was begun and given up before its first save.
_KEPT = ("data.dir", "train.steps", "train.epochs")
# What may change when a run goes on, its length by `check_length`; all else defines the training.
RESUMABLE = (
    *NO_EFFECT,
    *_KEPT,
    *("eval.", "train.accumulation_steps", "train.precision", "train.sharding"),
    *("model.attention", "model.remat"),
)


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Changes:
    """Returns each key whose value differs, of weights their name; none that `new` leaves."""
    return {key: pair for key, pair in _differences(old, new).items() if not is_left(key, pair[1])}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Changes:
    keys = sorted(old.keys() & new.keys(), key=order)
    found = {key: (old[key], new[key]) for key in keys if old[key] != new[key]}
    weights = found.get("pretrained")
    if weights and weights_name(weights[0]) == weights_name(weights[1]):
        del found["pretrained"]
    return found


def check_may_train(workdir: Path, settings: Mapping[str, Any], elsewhere: str = "") -> None:
    """Raises ValueError where a directory holds a run that settings by key would not go on with.

    A damaged record is no reason: the run itself says so.

    Args:
      workdir: directory of a run, which need not have begun.
      settings: by key.
      elsewhere: what to do to train beside it; a directory is proposed where this is empty.
    """
    check_same_training(workdir, changes(trained_settings(workdir), settings), elsewhere)
    if checkpoint_numbers(workdir / "checkpoints") and not is_left(
        "train.steps", settings["train.steps"]
    ):
        result = read_result(workdir) or {}  # a checkpoint's number is of batches, not of steps
        check_length(workdir, result.get("step", 0), settings, elsewhere)


def check_same_training(workdir: Path, found: Changes, elsewhere: str = "") -> None:
    """Raises ValueError where a change in a directory that holds a run defines the training.

    Every such key is named with both values, and what to do, see `check_may_train`.
    """
    defining = {key: pair for key, pair in found.items() if not is_listed(key, RESUMABLE)}
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
      trained: steps.
      settings: by key, whose steps are known; with epochs too, they follow from these.
      elsewhere: see `check_may_train`.
    """
    if trained > (num_steps := settings["train.steps"]):
        key, length = "train.steps", f"train.steps={num_steps}"
        if epochs := settings["train.epochs"]:
            key, length = "train.epochs", f"train.epochs={epochs}, which take {num_steps}"
        raise ValueError(
            f"{workdir} holds a run of {trained} trained steps, more than {length}: raise it to go "
            f"on, or {elsewhere or another_run(workdir, {key: settings[key]})}"
        )


def is_listed(key: str, table: Sequence[str]) -> bool:
    """Returns whether a key, or its group, is in a table such as `RESUMABLE`."""
    return key in table or f"{key.partition('.')[0]}." in table


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


def applied(found: Changes) -> list[str]:
    """Returns what is said of changed settings that a run goes on with, a line each."""
    return [f"note: {key} was {old!r}, is now {new!r}" for key, (old, new) in found.items()]


def unapplied(workdir: Path, found: Changes) -> list[str]:
    """Returns what is said of changed settings of a finished run, which takes few of them."""
    left = {key: f"{key}={new}" for key, (_, new) in found.items() if key not in _KEPT}
    scoring = [f"--config.{left[key]}" for key in ("eval.logits", "eval.mirror") if key in left]
    lines = applied({key: pair for key, pair in found.items() if key in _KEPT})
    if left:
        lines.append(f"note: not applied, since the run is finished: {', '.join(left.values())}")
    if scoring:
        command = shlex.join(["--mode=eval", f"--workdir={workdir}", *scoring])
        lines.append(f"note: to score it so, give {command}")
    return lines


def record_kept(workdir: Path, found: Changes) -> None:
    """Writes what a finished run takes of changed settings, and nothing else of them."""
    kept = {key: new for key, (_, new) in found.items() if key in _KEPT}
    if kept:
        settings = configured(trained_settings(workdir) | kept)
        write_json(workdir / "config.json", settings.to_dict())
