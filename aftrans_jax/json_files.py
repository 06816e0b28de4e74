"""The small files of a run: written whole or not at all, and checked when they are read back."""

import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aftrans_jax.files import write_bytes

_CHECKSUM = "checksum"  # of the rest of a record, in a line of its own that can be deleted


class DamagedRecordError(ValueError):
    """A small file that is not what this program writes there; the message names it."""


def write_json(path: Path, content: Mapping[str, Any] | Sequence[str]) -> None:
    """Writes indented JSON as `write_bytes` does; numbers that are not finite become null.

    A mapping is written with its checksum, by which a flipped bit of a number is found.
    """
    content = finite(content)
    if isinstance(content, dict):
        content = {_CHECKSUM: _checksum(content), **content}
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


def read_json(path: Path, is_sound: Callable[[Any], bool], expected: str) -> Any:
    """Returns what a JSON file holds, without its checksum, which a file may lack.

    Args:
      path: of the file.
      is_sound: whether a value has the form that the caller goes on to use.
      expected: that form in words, for the message.

    Raises:
      FileNotFoundError: there is no such file.
      OSError: it cannot be read.
      DamagedRecordError: it is no JSON, of another form, or its checksum does not match.
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
    """Returns plain values with None in the place of every number that is not finite."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
