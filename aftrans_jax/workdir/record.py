"""A working directory belongs to one experiment: its record, and what may change."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aftrans_jax.config import Config, base_config, is_left
from aftrans_jax.training.records import DamagedRecordError, numbers, read_json
from aftrans_jax.weights.names import weights_name
from aftrans_jax.workdir.run_names import another_run, order, run_name

Changes = dict[str, tuple[Any, Any]]  # by key: the value then and now

# What may change in a directory that holds a run; a dot at the end means a whole group. Every other
# key defines the training.
PLUMBING = (
    "train.report_every",
    "train.save_every",
    "train.steps",  # above what is trained, see `check_length`
    "train.epochs",  # which mean steps
    "train.accumulation_steps",
    "train.precision",
    "train.sharding",
    "model.attention",
    "model.remat",
    "data.dir",
    "data.num_threads",
    "data.cache",
    "data.max_pixels",
    "data.on_error",
    "eval.",
    "report.",
)
# What never changes a result, and so is not in a directory's name.
_UNNAMED = (
    *("train.report_every", "train.save_every", "eval.every", "eval.batch_size", "report."),
    *("data.num_threads", "data.cache", "data.max_pixels", "data.on_error"),
)


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings by key, such as "train.steps", as JSON holds them: tuples are lists."""
    found = {}
    for name, value in json.loads(json.dumps(settings)).items():
        if isinstance(value, dict):
            found |= {f"{name}.{key}": item for key, item in flat(value).items()}
        else:
            found[name] = value
    return found


def read_settings(
    workdir: Path, say: Callable[[str], None] = lambda line: None
) -> dict[str, Any] | None:
    """Returns the settings that a directory records, by key; None where it records none.

    They are in config.json, or else in result.json. Keys that came into the program later have
    their default.

    Args:
      workdir: of a run.
      say: is given a line where config.json is damaged and result.json is taken.

    Raises:
      NotADirectoryError: it is a file.
      DamagedRecordError: they cannot be read.
      ValueError: they have keys that this version does not know.
    """
    if workdir.is_file():
        raise NotADirectoryError(
            f"--workdir={workdir} is a file: expected the folder of a run. predict, explain and "
            "export take a file of python -m aftrans_jax.export --format=aftrans"
        )

    def is_sound(value: Any) -> bool:
        return isinstance(value, dict) and isinstance(value.get("train"), dict)

    path = workdir / "config.json"
    try:
        settings = read_json(path, is_sound, "the configuration of a run")
    except FileNotFoundError:
        result = read_result(workdir)
        if result is None:
            return None
        settings = result["config"]
    except DamagedRecordError as error:
        if (result := read_result(workdir)) is None:
            raise
        say(f"note: {error}. The settings are taken from result.json")
        settings = result["config"]
    return completed(flat(settings), path)


def completed(settings: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """Returns recorded settings by key; those that came into the program later have their default.

    Args:
      settings: by key.
      source: the file that records them, for error messages.

    Raises:
      DamagedRecordError: a value is of another type than its key's.
      ValueError: they have keys that this version does not know.
    """
    known = flat(base_config().to_dict())
    if unknown := sorted(settings.keys() - known.keys()):
        raise ValueError(
            f"{source} has keys that this version does not know: {', '.join(unknown)}. Use the "
            "version that trained it, or choose another --workdir"
        )
    return flat(configured(settings).to_dict())


def read_result(workdir: Path, name: str = "result.json") -> dict[str, Any] | None:
    """Returns what a file of scores holds, None where it is absent or damaged."""

    def is_sound(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and isinstance(value.get("step"), int)
            and isinstance(config := value.get("config"), dict)
            and isinstance(config.get("train"), dict)
        )

    try:
        return read_json(workdir / name, is_sound, "the result of a run")
    except (FileNotFoundError, DamagedRecordError):
        return None


def read_classes(workdir: Path) -> list[str]:
    """Returns the names of the classes of a run, in the order of its head.

    Raises:
      FileNotFoundError: there is no classes.json.
      DamagedRecordError: it is no list of names.
    """

    def is_sound(value: Any) -> bool:
        return isinstance(value, list) and bool(value) and all(isinstance(x, str) for x in value)

    return read_json(workdir / "classes.json", is_sound, "the list of the names of the classes")


def holds_run(workdir: Path) -> bool:
    """Returns whether anything was trained in a directory."""
    return bool(numbers(workdir / "checkpoints")) or (workdir / "result.json").exists()


def configured(settings: Mapping[str, Any]) -> Config:
    """Returns the configuration of settings by key, locked.

    Raises:
      DamagedRecordError: a value is of another type than its key's.
    """
    config = base_config()
    for key, value in settings.items():
        group, _, name = key.rpartition(".")
        try:
            section = config[group] if group else config
            section[name] = tuple(value) if isinstance(value, list) else value
        except TypeError as error:
            raise DamagedRecordError(
                f"{key}={value!r} in the record of the run: {error}"
            ) from error
    return config


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


def finished_result(workdir: Path, num_steps: int) -> dict[str, Any] | None:
    """Returns the result of a run if that is of all its steps, not of a shorter run."""
    result = read_result(workdir)
    return result if result and result["config"]["train"].get("steps") == num_steps else None


def written_settings(workdir: Path) -> dict[str, Any]:
    """Returns the settings that a directory records, by key; none, or damaged: empty.

    Raises:
      ValueError: they have keys that this version does not know.
    """
    try:
        return read_settings(workdir) or {}
    except DamagedRecordError:
        return {}


def trained_settings(workdir: Path) -> dict[str, Any]:
    """Returns those of `written_settings` where the directory holds what was trained."""
    return written_settings(workdir) if holds_run(workdir) else {}


def check_may_train(workdir: Path, settings: Mapping[str, Any], elsewhere: str = "") -> None:
    """Raises ValueError where a directory holds a run that settings by key would not go on with.

    A damaged record is no reason: the run itself says so.

    Args:
      workdir: of a run, or not yet.
      settings: by key.
      elsewhere: what to do to train beside it; a directory is proposed where this is empty.
    """
    check_same_training(workdir, changes(trained_settings(workdir), settings), elsewhere)
    if not is_left("train.steps", settings["train.steps"]):
        trained = max(numbers(workdir / "checkpoints"), default=0)
        check_length(workdir, trained, settings, elsewhere)


def check_same_training(workdir: Path, found: Changes, elsewhere: str = "") -> None:
    """Raises ValueError where a change in a directory that holds a run defines the training.

    Every such key is named with both values, and what to do, see `check_may_train`.
    """
    defining = {key: pair for key, pair in found.items() if not is_plumbing(key, PLUMBING)}
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
      workdir: of the run.
      trained: steps.
      settings: by key, whose steps are known; with epochs too, they follow from these.
      elsewhere: see `check_may_train`.
    """
    if trained > (num_steps := settings["train.steps"]):
        key = "train.epochs" if settings["train.epochs"] else "train.steps"
        length = f"{key}={settings[key]:g}"
        length += f", which takes {num_steps}" if settings["train.epochs"] else ""
        raise ValueError(
            f"{workdir} holds a run of {trained} trained steps, more than {length}: raise it to go "
            f"on, or {elsewhere or another_run(workdir, {key: settings[key]})}"
        )


def is_plumbing(key: str, table: Sequence[str]) -> bool:
    """Returns whether a key, or its group, is in a table such as `PLUMBING`."""
    return key in table or f"{key.partition('.')[0]}." in table


def default_name(name: str, plain: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Returns the name of a run's directory: the configuration's, and what was changed in it.

    Args:
      name: of the configuration, such as "cub".
      plain: settings by key as the configuration's file has them.
      settings: settings by key of the run.
    """
    changed = {}
    for key, (old, new) in _differences(plain, settings).items():
        moved = key == "data.dir" and Path(old).name == Path(new).name
        if not moved and not is_plumbing(key, _UNNAMED):
            changed[key] = new
    return run_name(name, changed)
