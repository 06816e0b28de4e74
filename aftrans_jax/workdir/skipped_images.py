"""The names of the images that a run could not read, kept from one start to the next."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aftrans_jax.json_files import DamagedRecordError, read_json, write_json

_NAME = "skipped_images.json"


def write_skipped_images(workdir: Path, names: Mapping[str, Sequence[str]]) -> None:
    """Writes the names by split."""
    write_json(workdir / _NAME, names)


def read_skipped_images(workdir: Path, say: Callable[[str], None]) -> dict[str, list[str]]:
    """Returns the names by split; none where there is no such file, or a damaged one.

    Args:
      workdir: directory of a run.
      say: called with a line where the file is damaged.
    """

    def is_sound(value: Any) -> bool:
        lists = value.values() if isinstance(value, dict) else [None]
        return all(isinstance(x, list) and all(isinstance(y, str) for y in x) for x in lists)

    try:
        return read_json(workdir / _NAME, is_sound, "the names of unreadable images by split")
    except FileNotFoundError:
        return {}
    except DamagedRecordError as error:
        say(f"note: {error}. Going on without them")
        return {}
