"""The small files of a run: written completely or not at all, and checked when read."""

import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aftrans_jax.files import write_bytes

_CHECKSUM = "checksum"  # of the other entries; on a line of its own, which can be deleted


class DamagedRecordError(ValueError):
    """A small file with other contents than this program writes; the message names it."""


def write_json(path: Path, content: Mapping[str, Any] | Sequence[str]) -> None:
    """Writes indented JSON as `write_bytes` does; numbers that are not finite become null.

    A mapping is written with its checksum, so that a flipped bit in a number is detected.
    """
    content = finite(content)
    if isinstance(content, dict):
        content = {_CHECKSUM: _checksum(content), **content}
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


def read_json(path: Path, is_sound: Callable[[Any], bool], expected: str) -> Any:
    """Returns the contents of a JSON file, without its checksum, which may be missing.

    Args:
      path: path of the file.
      is_sound: whether a value has the form that the caller needs.
      expected: description of that form, for the message.

    Raises:
      FileNotFoundError: there is no such file.
      OSError: it cannot be read.
      DamagedRecordError: it is no JSON, has another form, or its checksum does not match.
    """
    content = path.read_bytes()
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedRecordError(f"{path} is damaged ({error}): expected {expected}") from error
    checksum = value.pop(_CHECKSUM, None) if isinstance(value, dict) else None
    if checksum is not None and checksum != _checksum(value):
        raise DamagedRecordError(
            f"{path} is damaged (its checksum does not match): expected {expected} as it was "
            f'written; where you changed it yourself, delete its line "{_CHECKSUM}"'
        )
    if not is_sound(value):
        raise DamagedRecordError(f"{path} has another form: expected {expected}")
    return value


def _checksum(content: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(content).encode())


def finite(value: Any) -> Any:
    """Returns plain values with None for every number that is not finite."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
