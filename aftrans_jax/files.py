"""Files that are whole or not there, folders for them, and errors that name both."""

import contextlib
import os
from pathlib import Path


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


def named(error: OSError, path: Path) -> OSError:
    """Returns the error with the file that it is about: a full disk is reported without one."""
    return error if error.filename else type(error)(error.errno, error.strerror, str(path))
