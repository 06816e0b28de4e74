"""The record of a run in its working directory: settings, classes, scores and commands."""

import datetime
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aftrans_jax.config import base_config
from aftrans_jax.json_files import DamagedRecordError, read_json
from aftrans_jax.settings import configured, flat
from aftrans_jax.training.checkpoint_numbers import checkpoint_numbers

_COMMANDS = "commands.txt"


def read_settings(
    workdir: Path, say: Callable[[str], None] = lambda line: None
) -> dict[str, Any] | None:
    """Returns the settings that a directory records, by key; None where it records none.

    They are in config.json, or else in result.json. Keys added to the program later have their
    default.

    Args:
      workdir: directory of a run.
      say: called with a line where config.json is damaged and result.json is used.

    Raises:
      NotADirectoryError: the path is a file.
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
    """Returns recorded settings by key; those added to the program later have their default.

    Args:
      settings: recorded settings by key.
      source: file that records them, for error messages.

    Raises:
      DamagedRecordError: a value has another type than its key.
      ValueError: they have keys that this version does not know.
    """
    if unknown := sorted(settings.keys() - flat(base_config().to_dict()).keys()):
        raise ValueError(
            f"{source} has keys that this version does not know: {', '.join(unknown)}. Use the "
            "version that trained it, or choose another --workdir"
        )
    return flat(configured(settings).to_dict())


def read_result(workdir: Path, name: str = "result.json") -> dict[str, Any] | None:
    """Returns the contents of a file of scores, None where it is missing or damaged."""

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
    return bool(checkpoint_numbers(workdir / "checkpoints")) or (workdir / "result.json").exists()


def finished_result(workdir: Path, num_steps: int) -> dict[str, Any] | None:
    """Returns the result of a run if it covers all its steps; None for that of a shorter run."""
    result = read_result(workdir)
    return result if result and result["config"]["train"].get("steps") == num_steps else None


def written_settings(workdir: Path) -> dict[str, Any]:
    """Returns the settings that a directory records, by key; empty where missing or damaged.

    Raises:
      ValueError: they have keys that this version does not know.
    """
    try:
        return read_settings(workdir) or {}
    except DamagedRecordError:
        return {}


def trained_settings(workdir: Path) -> dict[str, Any]:
    """Returns `written_settings` where anything was trained in the directory, else nothing."""
    return written_settings(workdir) if holds_run(workdir) else {}


def note_command(workdir: Path, command: str) -> None:
    """Adds a line to commands.txt: the time, and the command that starts or resumes the run."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    # File names that are not UTF-8 reach Python with surrogates.
    line = f"{now}  {command}\n".encode(errors="surrogateescape")
    with (workdir / _COMMANDS).open("ab") as file:
        file.write(line)


def read_commands(workdir: Path) -> list[str]:
    """Returns the lines of commands.txt, an empty list where there is no such file."""
    path = workdir / _COMMANDS
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
