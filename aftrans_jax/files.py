"""Files that are whole or not there, CSV text, folders, paths as users write them, named errors."""

import contextlib
import csv
import io
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path


def expand(path: str) -> str:
    """Returns a path with `~`, `~user` and `$VARIABLE` replaced, as a shell would.

    Shells leave them alone behind the `=` of `--workdir=~/runs`.

    Raises:
      ValueError: the home directory or a variable is not known.
    """
    expanded = os.path.expanduser(os.path.expandvars(path))
    if expanded.startswith("~"):
        raise ValueError(f"{path!r} names a home directory that is not known: write the whole path")
    if re.search(r"\$(\w+|\{\w+\})", expanded) and not os.path.lexists(expanded):
        raise ValueError(f"{path!r} names a variable that is not set: set it, or write the path")
    return expanded


def csv_text(rows: Iterable[Sequence[str | int | float]]) -> str:
    """Returns rows as CSV, from which `csv.reader` reads every name again, whatever it holds.

    Every text is quoted, and no number: up to Python 3.11 csv quotes a carriage return in a name
    only where lines end in one.
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows(rows)
    return text.getvalue()


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file that is whole or not there, also after a power failure.

    Raises:
      OSError: the disk is full, read-only or gone; an earlier file of that name is left as it was.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise named(error, path) from None


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it, where they are missing.

    Raises:
      OSError: it cannot be made; the message names it and says what to do.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        line = f"the folder {folder} cannot be made ({error.strerror}): choose another"
        raise type(error)(line) from error


def check_place(folder: Path, given: str) -> None:
    """Passes a folder in which files can be written, or that can be made; makes none.

    Args:
      folder: that is looked at.
      given: how the user gave it, or a file in it, such as "--out=x.html".

    Raises:
      OSError: it is not one; the message says so.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise NotADirectoryError(
            f"{given}: {there} is a file: expected a folder, or a name that is free"
        )
    if not os.access(there, os.W_OK | os.X_OK):
        option = given.partition("=")[0]
        raise PermissionError(f"{given}: {there} cannot be written: choose another {option}")


def named(error: OSError, path: Path) -> OSError:
    """Returns the error with the file that it is about: a full disk is reported without one."""
    return error if error.filename else type(error)(error.errno, error.strerror, str(path))
