"""Predictions as a table, one row per photo: CSV for spreadsheets, JSON lines for programs."""

import codecs
import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, NamedTuple

from aftrans_jax.files import csv_text, make_folder
from aftrans_jax.inference.prediction import Prediction
from aftrans_jax.inference.preprocessing import why_unread
from aftrans_jax.json_files import finite
from aftrans_jax.locks import open_locked

_EDGES = ("top", "left", "bottom", "right")
# A spreadsheet takes a cell that begins with one of these for a formula, and runs it.
_FORMULA = (*"=+-@\t\r", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}")
_FORMULA += ("\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}")

Outcome = Prediction | Exception  # a photo's prediction, or why it could not be read


class _Columns(NamedTuple):
    heads: tuple[str, ...]
    top: int


@contextlib.contextmanager
def prediction_table(
    path: Path, *, heads: Sequence[str], top: int
) -> Iterator[Callable[[str, Outcome], object]]:
    """Yields a function that appends the row of a photo, given its path, to a table.

    The table is written row by row as `<name>.partial`, which an interrupted run leaves; an older
    table of the name is replaced only when the `with` block ends.

    A row has the photo's file, the predicted class and its probability, the most likely classes,
    the prediction of every head, the box in pixels of the upright photo and that photo's size, or
    the error.

    Args:
      path: path of the table; its suffix, one of `FORMATS`, is the format.
      heads: heads of the model.
      top: number of most likely classes in a row.

    Raises:
      ValueError: another process writes it.
    """
    line = FORMATS[path.suffix.lower()]
    columns = _Columns(tuple(heads), top)
    path = Path(os.path.realpath(path))  # symlinks are followed
    partial = path.with_name(f"{path.name}.partial")
    make_folder(path.parent)
    with _own(partial) as file:
        if line is _csv_line:
            # Without this mark Excel reads UTF-8 as the code page of the country.
            file.write(codecs.BOM_UTF8 + _csv_row(_header(columns)))
        yield lambda photo, outcome: file.write(line(photo, outcome, columns))
        partial.replace(path)


def _own(path: Path) -> IO[bytes]:
    """Returns an empty file that no other process writes, unbuffered: it never ends in half a row.

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


def _csv_line(path: str, outcome: Outcome, columns: _Columns) -> bytes:
    # "./" does not change where a path leads; other formulas get the apostrophe for text.
    file = f"./{path}" if path.startswith(_FORMULA) else path
    if isinstance(outcome, Exception):
        num_empty = len(_header(columns)) - 2
        return _csv_row([file, *[""] * num_empty, _cell(why_unread(path, outcome))])
    values = _values(outcome, columns.top)
    cells = [values["answer"], values["probability"]]
    cells += [
        x for name, probability in outcome.top(columns.top) for x in (name, round(probability, 6))
    ]
    cells += [x for head in columns.heads for x in _answer(outcome, head)]
    cells += [""] * 4 if outcome.box is None else outcome.box
    return _csv_row([file, *map(_cell, [*cells, outcome.height, outcome.width, ""])])


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _csv_row(cells: Sequence[Any]) -> bytes:
    # Bytes of names that are not UTF-8 become escapes: readers of the file would stop at them.
    return csv_text([cells]).encode("utf-8", "backslashreplace")


def _json_line(path: str, outcome: Outcome, columns: _Columns) -> bytes:
    if isinstance(outcome, Exception):
        values: dict[str, Any] = {"file": path, "error": why_unread(path, outcome)}
    else:
        values = {"file": path, **_values(outcome, columns.top)}
    # Python's escape of a byte that is not UTF-8 is JSON's, too: json.loads restores the name.
    return (
        json.dumps(finite(values), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
    )


FORMATS: Mapping[str, Callable[[str, Outcome, _Columns], bytes]] = MappingProxyType(
    {".csv": _csv_line, ".jsonl": _json_line}
)


def _values(prediction: Prediction, top: int) -> dict[str, Any]:
    return {
        "answer": prediction.answer,
        "probability": round(prediction.confidence, 6),
        "top": [[name, round(probability, 6)] for name, probability in prediction.top(top)],
        "heads": {head: list(_answer(prediction, head)) for head in prediction.probabilities},
        "box": None if prediction.box is None else dict(zip(_EDGES, prediction.box, strict=True)),
        "height": prediction.height,
        "width": prediction.width,
    }


def _answer(prediction: Prediction, head: str) -> tuple[str, float]:
    name, probability = prediction.answers[head]
    return name, round(probability, 6)
