"""Reading annotation lists: rows joined by id, paths that stay inside, errors that name the row."""

from collections.abc import Callable, Collection
from pathlib import Path, PureWindowsPath
from typing import TypeVar

_Key = TypeVar("_Key", int, str)
_Value = TypeVar("_Value")


def inside(text: str) -> str:
    """Returns a relative path with forward slashes.

    Raises:
      ValueError: the path is empty or leaves the folder it is relative to.

    Choice: a list from the internet must not make us read /etc.
    """
    path = PureWindowsPath(text)  # knows both kinds of slash, and drives
    if path.anchor or ".." in path.parts or not path.parts or "\0" in text:
        raise ValueError(text)
    return path.as_posix()


def read_rows(
    path: Path,
    key: Callable[[str], _Key],
    parse: Callable[[str], _Value],
    expected: str,
    *,
    remedy: str,
    ids: Collection[_Key] | None = None,
) -> dict[_Key, _Value]:
    """Returns id -> value for a text file whose rows are an id, white space and a value.

    Args:
      path: of the file, UTF-8; empty rows mean nothing.
      key: of the text of an id to the id.
      parse: of the rest of a row to its value; refuses by a ValueError or KeyError.
      expected: what `parse` takes, in words.
      remedy: the sentence that ends each message.
      ids: exactly those must be there; None takes any.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a row is damaged, its id unknown, there twice, or missing; the message names it.

    Choice: rows are joined by id; their order in a file means nothing.
    """
    values: dict[_Key, _Value] = {}
    for number, row in enumerate(read_text(path, remedy=remedy).split("\n"), start=1):
        if not row.strip():
            continue
        try:
            key_text, text = row.split(maxsplit=1)
            row_id, value = key(key_text), parse(text.strip())
        except (ValueError, KeyError) as error:
            raise row_error(path, number, row, f"an id and {expected}", remedy) from error
        if row_id in values:
            wanted = f"each id once, but {row_id} has a row above"
            raise row_error(path, number, row, wanted, remedy)
        if ids is not None and row_id not in ids:
            raise row_error(path, number, row, "an id that the list of images has", remedy)
        values[row_id] = value
    missing = sorted(set(ids or ()) - values.keys())
    if missing:
        raise ValueError(
            f"{path} has no row for {len(missing)} of the {len(ids or ())} ids in the list of "
            f"images, the first: {missing[:3]}: expected every id in every list. {remedy}"
        )
    return values


def read_text(path: Path, *, remedy: str) -> str:
    """Returns the text of a UTF-8 file, its line ends as newlines.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is not UTF-8.

    Choice: one wording of both errors for all readers.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no {path.name} in {path.parent}. {remedy}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}. {remedy}") from error


def row_error(path: Path, number: int, row: str, expected: str, remedy: str) -> ValueError:
    """Returns the error that names a row, counted from 1, and what was expected of it.

    Choice: one wording for all readers.
    """
    return ValueError(f"{path}, row {number}: {row.strip()!r}: expected {expected}. {remedy}")


def find_root(directory: str | Path, nested: str, *, holds: str, archive: str) -> Path:
    """Returns the folder that holds a certain file or folder: the one given, or one inside it.

    Args:
      directory: as the user named it.
      nested: name of the folder that the archive unpacks to.
      holds: the file or folder by which the right one is known, relative to it.
      archive: what unpacks to it, for the message.

    Raises:
      FileNotFoundError: neither folder holds it.

    Choice: both the folder and the one around it are what people name.
    """
    directory = Path(directory)
    for root in (directory, directory / nested):
        if (root / holds).exists():
            return root
    raise FileNotFoundError(
        f"no {holds} in {directory} or {directory / nested}: expected the official layout. Set "
        f"data.dir to the folder that {archive} unpacks to."
    )
