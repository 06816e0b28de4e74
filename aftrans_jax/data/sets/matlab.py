"""Reads .mat files: entries are parsed one by one, errors name the file and the entry."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from aftrans_jax.data.sets.lists import row_error
from aftrans_jax.data.sets.mat_process import read_columns

_Value = TypeVar("_Value")


def read_entries(
    path: Path,
    columns: Sequence[str],
    parse: Callable[..., tuple[str, _Value]],
    expected: str,
    *,
    remedy: str,
    struct: str | None = None,
) -> dict[str, _Value]:
    """Returns key -> value for the entries of a .mat file, in the order of the file.

    It is for .mat files what `lists.read_rows` is for text files.

    Args:
      path: path of the file.
      columns: names of variables with one element per entry, or of fields of the struct array.
      parse: maps an entry's element of each column to its key and value, or raises ValueError to
        refuse it; an element is a str, int or float, else a list of the cell's contents.
      expected: description of what `parse` accepts.
      remedy: sentence that ends each error message.
      struct: name of the struct array with the columns as fields; None for plain variables.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is damaged, a column is missing, or an entry is damaged or duplicated;
        the message names it, counted from 1.
    """
    entries: dict[str, _Value] = {}
    rows = zip(*_read_columns(path, columns, struct, remedy), strict=True)
    for number, elements in enumerate(rows, start=1):
        try:
            key, value = parse(*elements)
        except ValueError as error:
            row = " ".join(map(str, elements))
            raise row_error(path, number, row, expected, remedy) from error
        if key in entries:
            wanted = f"{key!r} once, but it has a row above"
            raise row_error(path, number, key, wanted, remedy)
        entries[key] = value
    return entries


def text(element: object) -> str:
    """Returns the element if it is a text; for use in `parse` of `read_entries`.

    Raises:
      ValueError: it is not a text, or blank.
    """
    if not (isinstance(element, str) and element.strip()):
        raise ValueError(element)
    return element


def whole(elements: Iterable[object]) -> list[int]:
    """Returns the elements as ints if all are whole numbers.

    14.0 counts as one, because MATLAB's numbers are doubles by default.

    Raises:
      ValueError: one is not a whole number, or is NaN or infinite.
    """
    numbers = []
    for element in elements:
        if not (isinstance(element, int | float) and float(element).is_integer()):
            raise ValueError(element)
        numbers.append(int(element))
    return numbers


def _read_columns(
    path: Path, columns: Sequence[str], struct: str | None, remedy: str
) -> list[list[object]]:
    """Returns the elements of each column, the same number for each."""
    if not path.is_file():
        raise FileNotFoundError(f"no {path.name} in {path.parent}. {remedy}")
    table = read_columns(path, columns, struct)
    if isinstance(table, str):
        raise ValueError(
            f"{path} cannot be read ({table}): expected a complete MATLAB 5 file. {remedy}"
        )
    missing = [name for name in columns if name not in table]
    if missing:
        raise ValueError(
            f"{path} has no {' or '.join(missing)}{f' in {struct}' if struct else ''}: expected "
            f"{', '.join(columns)}. {remedy}"
        )
    lengths = [len(table[name]) for name in columns]
    if len(set(lengths)) > 1:
        raise ValueError(
            f"{path} has {lengths} entries in {', '.join(columns)}: expected as many in each. "
            f"{remedy}"
        )
    return [table[name] for name in columns]
