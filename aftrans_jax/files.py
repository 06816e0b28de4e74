"""Files that are written completely or not at all, CSV text, and folders."""

import contextlib
import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from aftrans_jax.locks import open_locked


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Yields an empty file that becomes `path` where the `with` block ends without an error.

    So a file of that name is complete or missing, also after a power failure, and an earlier one
    stays until then. Processes that write it at the same moment take turns. Symlinks are followed.

    Raises:
      OSError: the disk is full, read-only or gone; the file is named.
    """
    place = Path(os.path.realpath(path))
    temporary = place.with_name(f"{place.name}.tmp")
    try:
        with open_locked(temporary, wait=True) as file:
            try:
                file.truncate(0)
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, place)
            except BaseException:
                with contextlib.suppress(OSError):
                    temporary.unlink()
                raise
    except OSError as error:
        raise with_filename(error, path) from None


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file completely or not at all, see `atomic_write`."""
    with atomic_write(path) as file:
        file.write(content)


def csv_text(rows: Iterable[Sequence[str | int | float]]) -> str:
    """Returns rows as CSV, from which `csv.reader` restores every name, whatever its characters.

    Texts are quoted, numbers are not: up to Python 3.11 csv quotes a carriage return in a name
    only where lines end in one.
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows(rows)
    return text.getvalue()


def make_folder(folder: Path) -> None:
    """Makes a folder and its parents, where they are missing.

    Raises:
      OSError: it cannot be made; the message names it and says what to do.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        line = f"the folder {folder} cannot be made ({error.strerror}): choose another"
        raise type(error)(line) from error


def with_filename(error: OSError, path: Path) -> OSError:
    """Returns the error with the name of its file: that of a full disk comes without one."""
    return error if error.filename else type(error)(error.errno, error.strerror, str(path))
