"""Files that are whole or not there, CSV text, folders, named errors."""

import contextlib
import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from aftrans_jax.locks import own


def csv_text(rows: Iterable[Sequence[str | int | float]]) -> str:
    """Returns rows as CSV, from which `csv.reader` reads every name again, whatever it holds.

    Every text is quoted, and no number: up to Python 3.11 csv quotes a carriage return in a name
    only where lines end in one.
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows(rows)
    return text.getvalue()


@contextlib.contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """Yields an empty file that becomes `path` where the `with` block ends without an error.

    So a file of that name is whole or not there, also after a power failure, and an earlier one is
    left as it was until then. Processes that write it at the same moment do so one by one. Of a
    link, what it leads to is written.

    Raises:
      OSError: the disk is full, read-only or gone; the file is named.
    """
    place = Path(os.path.realpath(path))
    temporary = place.with_name(f"{place.name}.tmp")
    try:
        with own(temporary, wait=True) as file:
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
        raise named(error, path) from None


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file that is whole or not there, see `whole`."""
    with whole(path) as file:
        file.write(content)


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


def numbers(directory: Path) -> list[int]:
    """Returns the numbers of the checkpoints below a directory, which may be absent, ascending."""
    if not directory.is_dir():
        return []
    names = (path.name for path in directory.iterdir() if path.is_dir())
    return sorted(int(name) for name in names if name.isascii() and name.isdecimal())
