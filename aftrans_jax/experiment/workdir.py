"""A working directory belongs to one experiment: its record, what may change, its name."""

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from aftrans_jax.config import Config, base_config
from aftrans_jax.training.records import DamagedRecordError, read_json
from aftrans_jax.training.stored import numbers

Changes = dict[str, tuple[Any, Any]]  # by key: the value then and now

# What may change in a directory that holds a run; a dot at the end means a whole group. Every other
# key defines the training.
PLUMBING = (
    "train.report_every",
    "train.save_every",
    "train.steps",  # only longer
    "train.accumulation_steps",
    "train.precision",
    "model.attention",
    "data.dir",
    "data.num_threads",
    "data.cache",
    "data.on_error",
    "eval.",
    "report.",
)
# With --mode=eval: what may be given besides, to score another labelled set ...
_OTHER_SET = ("data.name", "data.dir", "data.supercategory", "data.num_test")
# ... and what decides how an image is evaluated and which images are tested, and is the record's.
_EVALUATED = (
    *("model.", "sacm.", "region."),
    *("data.image_size", "data.local_size", "data.resize_ratio", "data.mean", "data.std"),
    *("data.test_fraction", "data.validation_fraction", "data.split_seed"),
)
_PATHS = ("pretrained", "data.dir")
_LONGEST_NAME = 80  # characters


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings by key, such as "train.steps", as JSON holds them: tuples are lists."""
    found = {}
    for name, value in json.loads(json.dumps(settings)).items():
        if isinstance(value, dict):
            found |= {f"{name}.{key}": item for key, item in flat(value).items()}
        else:
            found[name] = value
    return found


def read_settings(workdir: Path) -> dict[str, Any] | None:
    """Returns the settings that a directory records, by key; None where it records none.

    They are in config.json, or else in result.json. Keys that came into the program later have
    their default.

    Raises:
      DamagedRecordError: they cannot be read, or have keys that this version does not know.
    """

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
    except DamagedRecordError:
        if (result := read_result(workdir)) is None:
            raise
        settings = result["config"]
    known, recorded = flat(base_config().to_dict()), flat(settings)
    if unknown := sorted(recorded.keys() - known.keys()):
        raise DamagedRecordError(
            f"{path} has keys that this version does not know: {', '.join(unknown)}. Use the "
            "version that trained it, or choose another --workdir"
        )
    return {key: recorded.get(key, default) for key, default in known.items()}


def read_result(workdir: Path) -> dict[str, Any] | None:
    """Returns what result.json holds, None where it is absent or damaged."""

    def is_sound(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and isinstance(value.get("step"), int)
            and isinstance(config := value.get("config"), dict)
            and isinstance(config.get("train"), dict)
        )

    try:
        return read_json(workdir / "result.json", is_sound, "the result of a run")
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
    """Returns each key whose value differs; files of weights are the same if their names are."""
    found = {key: (old[key], new[key]) for key in new if key in old and old[key] != new[key]}
    weights = found.get("pretrained")
    if weights and Path(weights[0]).name == Path(weights[1]).name:
        del found["pretrained"]
    return found


def check_same_training(workdir: Path, found: Changes) -> None:
    """Raises ValueError where a change in a directory that holds a run defines the training.

    Every such key is named with both values, and a directory is proposed.
    """
    defining = {key: pair for key, pair in found.items() if not is_plumbing(key, PLUMBING)}
    steps = found.get("train.steps")
    if steps and steps[1] < steps[0]:
        defining["train.steps"] = steps
    if defining:
        listed = "; ".join(
            f"{key} was {old!r}, is now {new!r}" for key, (old, new) in defining.items()
        )
        named = {key: new for key, (_, new) in defining.items() if key != "train.steps"}
        other = run_name(str(workdir), named or {"train.steps": defining["train.steps"][1]})
        only = " (train.steps may only grow)" if "train.steps" in defining else ""
        raise ValueError(
            f"{workdir} holds a run that was trained with other settings: {listed}{only}. Set them "
            f"back to go on with it, or train in another directory: --workdir={other}"
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
    for key, (old, new) in changes(plain, settings).items():
        if key in _PATHS:
            if Path(old).name != Path(new).name:
                changed[key] = Path(new).name
        elif not is_plumbing(key, PLUMBING):
            changed[key] = new
    return run_name(name, changed)


def run_name(name: str, changed: Mapping[str, Any]) -> str:
    """Returns a name with the changed settings, such as "cub,seed=1", shortened with a hash."""
    order = list(flat(base_config().to_dict()))
    parts = []
    for key in sorted(changed, key=order.index):
        value = changed[key]
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        text = Path(text).name if key in _PATHS else text
        parts.append(f",{key}={re.sub(r'[^A-Za-z0-9._,=+-]', '_', text)}")
    added = "".join(parts)
    if len(Path(name).name) + len(added) > _LONGEST_NAME:
        digest = hashlib.sha256(json.dumps(dict(changed), sort_keys=True).encode()).hexdigest()[:8]
        added = f"{added[: _LONGEST_NAME - len(Path(name).name) - 9]}-{digest}"
    return name + added


def evaluation_settings(
    recorded: Mapping[str, Any], settings: Mapping[str, Any], given: Collection[str]
) -> tuple[dict[str, Any], list[str]]:
    """Returns the settings to evaluate a run with, by key, and notes for the user.

    They are the record's, but for what the command line gives and an evaluation may change.

    Args:
      recorded: settings by key that the run was trained with.
      settings: settings by key of this command.
      given: the keys that were set on the command line.

    Raises:
      ValueError: a given key would change what is evaluated.
    """
    found = changes(recorded, settings)
    chosen, notes = dict(recorded), []
    for key in [key for key in found if key in given]:
        old, new = found[key]
        if is_plumbing(key, (*PLUMBING, *_OTHER_SET)):
            chosen[key] = new
            notes.append(f"note: {key} was {old!r}, is {new!r} in this evaluation")
        elif is_plumbing(key, _EVALUATED):
            raise ValueError(
                f"{key} was {old!r} when the run was trained and is given as {new!r}: it would "
                "change what is evaluated. Leave it out, or train with it in another directory"
            )
        else:
            notes.append(f"note: {key}={new!r} is ignored: the run was trained with {old!r}")
    forgotten = [key for key in found if key not in given and not is_plumbing(key, PLUMBING)]
    if forgotten:
        notes.append(f"note: taken from the record of the run: {', '.join(forgotten)}")
    return chosen, notes


def set_name(recorded: Mapping[str, Any], chosen: Mapping[str, Any]) -> str:
    """Returns the name of the set that an evaluation scores: "test" is the run's own."""
    changed = [key for key in _OTHER_SET if recorded[key] != chosen[key]]
    if not changed:
        return "test"
    base = Path(chosen["data.dir"]).name if "data.dir" in changed else ""
    parts = [Path(base).stem if chosen["data.name"] == "csv" else base]
    parts += [str(chosen[key]) for key in changed if key != "data.dir"]
    name = re.sub(r"[^A-Za-z0-9._+-]", "_", "-".join(part for part in parts if part))
    return name if name not in ("", "test") else f"{chosen['data.name']}-{name}".rstrip("-")
