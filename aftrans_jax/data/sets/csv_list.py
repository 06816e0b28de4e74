"""CSV files that list photos, one per row, in the folder of the images or above it."""

import csv
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from aftrans_jax.data.sets.annotations import Annotations
from aftrans_jax.data.sets.lists import inside, read_text, row_error, shortened
from aftrans_jax.data.sets.named_classes import SPLIT_NAMES, NamedPhoto, from_names
from aftrans_jax.files import write_bytes
from aftrans_jax.wording import printable

_COLUMNS = ("path", "label", "split")
_SEPARATORS = (",", ";", "\t")  # spreadsheets write ; where numbers have a decimal comma
_SEPARATOR_LINE = "sep="  # beginning of a line above the header, which spreadsheets write
_REMEDY = (
    "Write the header path,label,split and a row for each image: its path from the folder of the "
    "CSV file, the name of its class, and train, val or test. Without the column split, a part of "
    "the rows is drawn for the test (data.test_fraction)."
)

# A class may have the bytes of its folder's name, which a list of that disk keeps.
_SAVE = "The list is not UTF-8: save it as 'CSV UTF-8'"


def read_csv(
    path: str | Path, *, test_fraction: float = 0.2, seed: int = 0, evaluates: bool = False
) -> Annotations:
    """Returns the photos that a CSV file lists, by paths relative to the folder of that file.

    The header names the columns, in any order: `path`, `label`, which is the name of a class, and
    optionally `split`, one of `SPLIT_NAMES`. Fields are separated as in the header: by commas,
    semicolons or tabs; a line "sep=;" above it is skipped. White space around fields is ignored,
    and so is case in the header and in splits. Further columns are ignored where there is `split`;
    without it they are an error, because one of them may be the split under another name. An
    absolute path below that folder is accepted, too.

    Args:
      path: path of the file, UTF-8, or UTF-16 that begins with its mark; in UTF-8, paths, and
        classes named as their folders, may have other bytes.
      test_fraction: fraction of each class to hold out without a column `split`, in (0, 1).
      seed: seed for the choice of held-out images, at least 0.
      evaluates: see `from_names`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the header or a row is damaged, and the message names it; or see `from_names`.
    """
    path = Path(path)
    if path.is_dir():
        raise FileNotFoundError(
            f"{path} is a folder: expected a CSV file. Set data.dir to one, or for a folder of "
            "photos add --config.data.name=folder"
        )
    photos: dict[str, tuple[int, NamedPhoto]] = {}  # by path, with the number of its row
    for number, row, photo in _photos(path):
        if photo.path in photos:
            above, first = photos[photo.path]
            label = f" with the label {first.class_name!r}" * (first.class_name != photo.class_name)
            wanted = f"each path once, but row {above} has it too{label}"
            raise row_error(path, number, row, wanted, "Remove one of both rows.")
        photos[photo.path] = number, photo
    lists = from_names(
        "csv",
        path.parent,
        [photo for _, photo in photos.values()],
        source=path,
        remedy=_REMEDY,
        test_fraction=test_fraction,
        seed=seed,
        evaluates=evaluates,
    )
    remedy = f"Paths start at {printable(str(path.parent))}, the folder of the CSV file: move it to"
    remedy = f"{remedy} where its paths start, or correct them."
    if any(map(_odd, photos)):
        remedy = f"{_SAVE}. Or, where these are the bytes of the files' names: {remedy}"
    return lists._replace(missing_remedy=remedy)


def write_csv(path: str | Path, rows: Iterable[tuple[str, str, str]]) -> None:
    """Writes a file that `read_csv` reads back to the same photos, completely or not at all.

    Args:
      path: path of the file, in the folder of the images or above it.
      rows: path relative to that folder with forward slashes, name of the class, and split.

    Raises:
      ValueError: see `check_rows`; nothing has been written.
      OSError: the disk is full, read-only or gone; the file is named.
    """
    path = Path(path)
    rows = list(rows)
    check_rows(path, rows)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_COLUMNS, *rows])
    write_bytes(path, text.getvalue().encode("utf-8", "surrogateescape"))


def check_rows(path: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    """Checks that a CSV file can hold rows, see `write_csv`.

    Raises:
      ValueError: a row would not be read back unchanged, such as one with white space at the ends
        of a field.
    """
    for row in rows:
        if not _is_faithful(*row):
            raise ValueError(
                f"{path}: {row}: expected a relative path inside {os.path.abspath(path.parent)!r} "
                "with forward slashes, a class name and one of "
                f"{', '.join(SPLIT_NAMES)}, without carriage returns or white "
                "space at their ends, the class in UTF-8. Rename the file or the class."
            )


def _is_faithful(path: str, class_name: str, split: str) -> bool:
    """Returns whether `read_csv` would read back exactly these."""
    try:
        kept = inside(path) == path
    except ValueError:
        return False
    fields = (path, class_name, split)
    whole = all(field and field == field.strip() and "\r" not in field for field in fields)
    return kept and whole and _odd(class_name) <= _odd(path) and split.lower() in SPLIT_NAMES


def _odd(text: str) -> set[str]:
    """Returns the bytes that are not UTF-8, as Python keeps them in the names of files."""
    return set() if text.isascii() else {char for char in text if "\udc80" <= char <= "\udcff"}


def _photos(path: Path) -> Iterator[tuple[int, str, NamedPhoto]]:
    """Yields the number of a row, its text for messages, and the photo in it."""
    text = read_text(path, remedy=_REMEDY, any_bytes=True)
    if "\0" in text.partition("\n")[0]:  # a spreadsheet, an archive, UTF-16 without its mark
        raise ValueError(f"{path} is no text: save it as 'CSV UTF-8'. {_REMEDY}")
    separator = _separator(text)
    rows = _rows(path, text, separator)
    number, header = next(rows, (1, []))
    if header[:1] == [_SEPARATOR_LINE]:
        number, header = next(rows, (number, []))
    columns = _columns(path, number, header, separator)
    folder = os.path.abspath(path.parent)
    splits = SPLIT_NAMES if "split" in columns else ("",)
    for number, fields in rows:
        row = separator.join(fields)
        if len(fields) != len(columns):
            wanted = f"{len(columns)} fields as in the header, in quotes if they hold {separator!r}"
            raise row_error(path, number, row, wanted, _REMEDY)
        values = dict(zip(columns, fields, strict=True))
        try:
            name = inside(values["path"].removeprefix(f"{folder}/"))
        except ValueError as error:
            wanted = f"a path inside the folder of the CSV file, {folder!r}, best relative to it"
            raise row_error(path, number, row, wanted, _REMEDY) from error
        photo = NamedPhoto(name, values["label"], values.get("split", ""))
        if not _odd(photo.class_name) <= _odd(name):
            raise row_error(path, number, row, "a label in UTF-8", f"{_SAVE}.")
        if not photo.class_name:
            raise row_error(path, number, row, "the name of a class", _REMEDY)
        if photo.split.lower() not in splits:
            raise row_error(path, number, row, f"one of the splits {', '.join(splits)}", _REMEDY)
        yield number, row, photo


def _columns(path: Path, number: int, header: list[str], separator: str) -> list[str]:
    """Returns the names of the columns in lower case, after checking that none is missing."""
    columns = [field.lower() for field in header]
    others = [field for field in header if field.lower() not in _COLUMNS]
    if not header:
        raise ValueError(f"{path} is empty: expected a header and a row for each image. {_REMEDY}")
    once = all(columns.count(name) == 1 for name in ("path", "label"))
    if once and columns.count("split") <= 1 and ("split" in columns or not others):
        return columns
    raise row_error(
        path,
        number,
        separator.join(header),
        "a header with the columns path, label and perhaps split, each once and separated by "
        f"commas, semicolons or tabs; {_wrong(columns, others)}",
        "Rename the column of image paths to path, that of class names to label, and that of train "
        "or test to split; without a split, remove all others.",
    )


def _wrong(columns: list[str], others: list[str]) -> str:
    """Returns what is wrong with the columns of a header, in words."""
    parts = {
        "missing": [name for name in _COLUMNS[:2] if name not in columns],
        "more than once": [name for name in _COLUMNS if columns.count(name) > 1],
        "unknown": others,
    }
    return "; ".join(f"{what}: {shortened(str(names))}" for what, names in parts.items() if names)


def _separator(text: str) -> str:
    """Returns the separator of the columns path and label in the header, else a comma."""
    blank = f'{"".join(_SEPARATORS)}" '
    lines = (line for line in text.split("\n") if line.strip(blank))
    header = next((line for line in lines if not line.startswith(_SEPARATOR_LINE)), "")
    for separator in _SEPARATORS:
        columns = {name.strip(' "').lower() for name in header.split(separator)}
        if {"path", "label"} <= columns:
            return separator
    return ","


def _rows(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the number of the line that a row starts in, and its fields; skips empty rows."""
    rows = csv.reader(io.StringIO(text), delimiter=separator, strict=True, skipinitialspace=True)
    number = 1
    try:
        for row in rows:
            fields = [field.strip() for field in row]
            if any(fields):
                yield number, fields
            number = rows.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{path}, row {number}: {error}: expected quotes around whole fields, doubled inside. "
            f"{_REMEDY}"
        ) from error
