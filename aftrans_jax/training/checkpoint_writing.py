"""Writing checkpoints: where they can be, whether there is room, what is said of a failure."""

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

# What orbax takes for a pattern of files, TensorStore for a slash, or for no text.
_UNFIT = re.compile(r"\[[^/]+\]|\*\*|\\|[\udc80-\udcff]")


def check_path(folder: Path, given: str) -> None:
    """Passes a folder below which checkpoints that were written can be read again.

    Of some other names neither orbax nor TensorStore says anything before they are read.

    Args:
      folder: that is looked at, with those above it.
      given: how the user gave it, such as "--workdir=x".

    Raises:
      ValueError: it is not one; the message says why.
    """
    place = str(folder.resolve())
    if found := _UNFIT.search(place):
        raise ValueError(
            f"{given} is {place!r}: checkpoints could not be read again below a path with "
            f"{found.group()!r}: choose another {given.partition('=')[0]}, or rename the folder"
        )


@contextlib.contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Turns what orbax and its libraries raise where a disk fails into one error of ours."""
    try:
        yield
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:150] or type(error).__name__
        raise OSError(
            f"no checkpoint can be written to {directory}: {reason}. Check its disk and "
            "run the same command again; what was saved before is intact"
        ) from error


def check_room(directory: Path, state: Any) -> None:
    """Passes a state for which a disk has room, and a fifth to spare.

    Args:
      directory: of the checkpoints, which need not exist.
      state: tree of arrays.

    Raises:
      OSError: there is less room.
    """
    place = next(path for path in (directory, *directory.parents) if path.exists())
    needed = 1.2 * sum(array.nbytes for array in jax.tree.leaves(state))
    with writing(directory):
        if (free := shutil.disk_usage(place).free) < needed:
            raise OSError(f"{free / 1e6:.1f} MB are free, it needs {needed / 1e6:.1f} MB")
