"""Checks before checkpoints are written, and one clear error where orbax fails."""

import contextlib
import functools
import logging
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from absl import logging as absl_logging

# What orbax takes for a glob pattern, TensorStore for a slash, or neither can encode.
_UNFIT = re.compile(r"\[[^/]+\]|\*\*|\\|[\udc80-\udcff]")
_DETAILS = re.compile(r"( \[[^\[\]]*\])+$")  # as TensorStore ends its messages
_LONGEST = 300  # characters of what a library says, unless one clause has more


def check_path(folder: Path, given: str) -> None:
    """Checks that checkpoints written below a folder can be read again.

    With some folder names, orbax and TensorStore fail only when reading.

    Args:
      folder: folder to check, along with its parents.
      given: the user's own spelling, such as "--workdir=x".

    Raises:
        ValueError: the path holds such a name; the message says which.
    """
    place = str(folder.resolve())
    if found := _UNFIT.search(place):
        raise ValueError(
            f"{given} is {place!r}: checkpoints could not be read again below a path with "
            f"{found.group()!r}: choose another {given.partition('=')[0]}, or rename the folder"
        )


@contextlib.contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Turns whatever orbax and its libraries raise when a disk fails into one OSError."""
    try:
        yield
    except Exception as error:
        reason = _first_line(str(error)) or type(error).__name__
        raise OSError(
            f"no checkpoint can be written to {directory}: {reason}. Check its disk and "
            "run the same command again; what was saved before is intact"
        ) from error


def _first_line(text: str) -> str:
    """Returns the first line of a message, without TensorStore's details in brackets.

    Of a long one the last clauses are left, which have the file and the cause: no path is cut.
    """
    line = text.strip().partition("\n")[0]
    clauses = _DETAILS.sub("", line).removesuffix(".").split(": ")
    while len(clauses) > 1 and len(": ".join(clauses)) > _LONGEST:
        clauses = clauses[1:]
    return ": ".join(clauses)


def check_room(directory: Path, state: Any) -> None:
    """Checks that a disk has room for a state, with a fifth to spare.

    Args:
      directory: folder of the checkpoints, which need not exist.
      state: tree of arrays.

    Raises:
      OSError: there is less room.
    """
    place = next(path for path in (directory, *directory.parents) if path.exists())
    needed = 1.2 * sum(array.nbytes for array in jax.tree.leaves(state))
    with writing(directory):
        if (free := shutil.disk_usage(place).free) < needed:
            raise OSError(f"{free / 1e6:.1f} MB are free, it needs {needed / 1e6:.1f} MB")


@functools.cache
def quiet_orbax() -> None:
    """Hides from now on what orbax prints of errors that it also raises: hundreds of tracebacks."""
    absl_logging.get_absl_logger().addFilter(_is_not_orbax)
    show = sys.unraisablehook

    def show_others(unraisable: Any) -> None:
        # After one failed read or write orbax closes the loop that its other tasks still report to.
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
            show(unraisable)

    sys.unraisablehook = show_others


def _is_not_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in Path(record.pathname).parts
