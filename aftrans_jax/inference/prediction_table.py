"""Predictions as a table, a row a photo: CSV for spreadsheets, JSON lines for programs."""

import codecs
import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, NamedTuple

from aftrans_jax.csv_text import csv_text
from aftrans_jax.files import make_folder
from aftrans_jax.inference.prediction import Prediction
from aftrans_jax.inference.preprocessing import why_unread
from aftrans_jax.json_files import finite
from aftrans_jax.locks import open_locked

_EDGES = ("top", "left", "bottom", "right")
# A spreadsheet takes a cell that begins with one of these for a formula, and runs it.
_FORMULA = (*"=+-@\t\r", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}")
_FORMULA += ("\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}")

Found = Prediction | Exception  # what is said of a photo, or why it could not be read


class _Columns(NamedTuple):
    heads: tuple[str, ...]
    top: int


@contextlib.contextmanager
def prediction_table(
    path: Path, *, heads: Sequence[str], top: int
) -> Iterator[Callable[[str, Found], object]]:
    """Yields a function that adds the row of a photo, by its path, to a table.

    The table grows by whole rows as `<name>.partial`, which an interrupted run leaves; an older one
    of the name stays where it is until the `with` block ends.

    A row has the photo's file, the answer and its probability, the likeliest classes, the answer of
    every head, the box in pixels of the upright photo and that photo's size, or the error.

    Args:
      path: its suffix, one of `FORMATS`, is the format.
      heads: of the model.
      top: how many of the likeliest classes a row has.

    Raises:
      ValueError: another process writes it.
    """
    line, columns = FORMATS[path.suffix.lower()], _Columns(tuple(heads), top)
    path = Path(os.path.realpath(path))  # of a link, what it leads to is written
    partial = path.with_name(f"{path.name}.partial")
    make_folder(path.parent)
    with _own(partial) as file:
        if line is _csv_line:
            # Without the mark Excel takes UTF-8 for the alphabet of the country.
            file.write(codecs.BOM_UTF8 + _csv_row(_header(columns)))
        yield lambda photo, found: file.write(line(photo, found, columns))
        partial.replace(path)


def _own(path: Path) -> IO[bytes]:
    """Returns an empty file that no other process writes; what is written is whole rows.

    Raises:
      ValueError: another process does.
    """
    try:
        file = open_locked(path, wait=False, buffering=0)
    except BlockingIOError as error:
        raise ValueError(
            f"{path} is being written by another process: choose another --out, or wait"
        ) from error
    file.truncate(0)
    return file


def _header(columns: _Columns) -> list[str]:
    ranks = [f"{name}_{k}" for k in range(1, columns.top + 1) for name in ("class", "probability")]
    heads = [f"{head}{end}" for head in columns.heads for end in ("", "_probability")]
    return ["file", "answer", "probability", *ranks, *heads, *_EDGES, "height", "width", "error"]


def _csv_line(path: str, found: Found, columns: _Columns) -> bytes:
    # "./" leaves a path what it is; what else would be a formula gets the apostrophe for text.
    file = f"./{path}" if path.startswith(_FORMULA) else path
    if isinstance(found, Exception):
        num_empty = len(_header(columns)) - 2
        return _csv_row([file, *[""] * num_empty, _cell(why_unread(path, found))])
    values = _values(found, columns.top)
    said = [values["answer"], values["probability"]]
    said += [x for name, share in found.top(columns.top) for x in (name, round(share, 6))]
    said += [x for head in columns.heads for x in _answer(found, head)]
    said += [""] * 4 if found.box is None else found.box
    return _csv_row([file, *map(_cell, [*said, found.height, found.width, ""])])


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _csv_row(cells: Sequence[Any]) -> bytes:
    # Bytes of names that are no UTF-8 become escapes: a reader of the whole file would stop at one.
    return csv_text([cells]).encode("utf-8", "backslashreplace")


def _json_line(path: str, found: Found, columns: _Columns) -> bytes:
    if isinstance(found, Exception):
        values: dict[str, Any] = {"file": path, "error": why_unread(path, found)}
    else:
        values = {"file": path, **_values(found, columns.top)}
    # Python's escape of a byte that is no UTF-8 is JSON's, too: json.loads gives the name again.
    return (
        json.dumps(finite(values), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
    )


FORMATS: Mapping[str, Callable[[str, Found, _Columns], bytes]] = MappingProxyType(
    {".csv": _csv_line, ".jsonl": _json_line}
)


def _values(found: Prediction, top: int) -> dict[str, Any]:
    return {
        "answer": found.answer,
        "probability": round(found.confidence, 6),
        "top": [[name, round(share, 6)] for name, share in found.top(top)],
        "heads": {head: list(_answer(found, head)) for head in found.probabilities},
        "box": None if found.box is None else dict(zip(_EDGES, found.box, strict=True)),
        "height": found.height,
        "width": found.width,
    }


def _answer(found: Prediction, head: str) -> tuple[str, float]:
    name, share = found.answers[head]
    return name, round(share, 6)
