"""Files that are whole or not there, and errors that name them."""

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


def named(error: OSError, path: Path) -> OSError:
    """Returns the error with the file that it is about: a full disk is reported without one."""
    return error if error.filename else type(error)(error.errno, error.strerror, str(path))
