"""Reading annotation lists: rows joined by id, paths within a folder, errors that name the row."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from aftrans_jax.data.sets.annotations import NO_BOX, Box, Record, is_box
from aftrans_jax.files import with_filename

_Key = TypeVar("_Key", int, str)
_Value = TypeVar("_Value")

_NUM_SHOWN = 200


def inside(text: str) -> str:
    """Returns a listed path with forward slashes, after checking that it stays inside its folder.

    Raises:
      ValueError: the path is empty or leaves the folder it is relative to.
    """
    # Not by pathlib, which takes six times as long: iNaturalist lists 675,170 paths.
    parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]
    absolute = text.startswith(("/", "\\")) or text[1:2] == ":"  # the latter is a drive
    if absolute or not parts or ".." in parts or "\0" in text:
        raise ValueError(text)
    return "/".join(parts)


def xywh_box(text: str) -> Box:
    """Returns (top, left, bottom, right) for "x y width height".

    Raises:
      ValueError: these are not four numbers of a box, see `is_box`.
    """
    left, top, width, height = (float(number) for number in text.split())
    box = (top, left, top + height, left + width)
    if not is_box(box):
        raise ValueError(text)
    return box


def read_rows(
    path: Path,
    key: Callable[[str], _Key],
    parse: Callable[[str], _Value],
    expected: str,
    *,
    remedy: str,
    ids: Collection[_Key] | None = None,
    id_form: str = "an id",
) -> dict[_Key, _Value]:
    """Returns id -> value for a text file whose rows are an id, white space and a value.

    The order of the rows has no meaning.

    Args:
      path: of the file, UTF-8; empty rows are ignored.
      key: maps the text of an id to the id.
      parse: maps the rest of a row to its value; raises ValueError or KeyError to refuse it.
      expected: what `parse` takes, in words.
      remedy: the sentence that ends each error message.
      ids: those that there must be, no more and no fewer; None accepts any.
      id_form: what `key` takes, in words.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a row is damaged, its id unknown, there twice, or missing; the message names it.
        Or there is none.
    """
    values: dict[_Key, _Value] = {}
    text = read_text(path, remedy=remedy, any_bytes=True)
    for number, row in enumerate(text.split("\n"), start=1):
        if not row.strip():
            continue
        try:
            key_text, rest = row.split(maxsplit=1)
            row_id = key(key_text)
            value = parse(rest.strip())
        except (ValueError, KeyError) as error:
            raise row_error(path, number, row, f"{id_form} and {expected}", remedy) from error
        if row_id in values:
            wanted = f"each id once, but {row_id} has a row above"
            raise row_error(path, number, row, wanted, remedy)
        if ids is not None and row_id not in ids:
            raise row_error(path, number, row, "an id that the list of images has", remedy)
        values[row_id] = value
    if not values:
        raise ValueError(f"{path} has no rows: expected {id_form} and {expected}. {remedy}")
    missing = sorted(set(ids or ()) - values.keys())
    if missing:
        raise ValueError(
            f"{path} has no row for {len(missing)} of the {len(ids or ())} ids in the list of "
            f"images, the first: {missing[:3]}: expected every id in every list. {remedy}"
        )
    return values


def read_text(path: Path, *, remedy: str, any_bytes: bool = False) -> str:
    """Returns the text of a file in UTF-8, or UTF-16 with its mark, its line ends as newlines.

    Args:
      path: of the file.
      remedy: the sentence that ends each error message.
      any_bytes: whether names in it may have bytes that are not UTF-8, kept as Python keeps them in
        the names of files.

    Raises:
      OSError: there is no such file, or the disk does not give it; the message names it.
      ValueError: it is in neither.
    """
    try:
        text = decoded(path.read_bytes(), any_bytes=any_bytes)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no {path.name} in {path.parent}. {remedy}") from error
    except OSError as error:
        raise with_filename(error, path) from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}. {remedy}") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def decoded(data: bytes, *, any_bytes: bool = False) -> str:
    """Returns the text of a list in UTF-8, or UTF-16 with its mark, as `read_text` takes it.

    Raises:
      UnicodeDecodeError: it is in neither.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16, as some programs write it
        return data.decode("utf-16")
    return data.decode("utf-8-sig", "surrogateescape" if any_bytes else "strict")


def row_error(path: Path, number: int, row: str, expected: str, remedy: str) -> ValueError:
    """Returns the error that names a row, counted from 1, and what was expected of it."""
    shown = shortened(repr(row.strip()))
    return ValueError(f"{path}, row {number}: {shown}: expected {expected}. {remedy}")


def shortened(text: str) -> str:
    """Returns the first 200 characters of a text, with dots where there are more."""
    return text if len(text) <= _NUM_SHOWN else f"{text[:_NUM_SHOWN]}..."


def find_root(
    directory: str | Path, nested: str, *, holds: str | tuple[str, ...], archive: str
) -> Path:
    """Returns the folder that holds a certain file or folder: the one given, or one inside it.

    Args:
      directory: as the user named it.
      nested: name of the folder that the archive unpacks to.
      holds: the file or folder to look for in it; of several, any one.
      archive: what unpacks to it, for the error message.

    Raises:
      FileNotFoundError: neither folder holds it.
    """
    directory = Path(directory)
    marks = (holds,) if isinstance(holds, str) else holds
    for root in (directory, directory / nested):
        if any((root / mark).exists() for mark in marks):
            return root
    raise FileNotFoundError(
        f"no {' or '.join(marks)} in {directory} or {directory / nested}: expected the official "
        f"layout. Set data.dir to the folder that {archive} unpacks to."
    )


def cub_records(
    root: Path,
    key: Callable[[str], _Key],
    class_ids: Collection[int],
    *,
    remedy: str,
    id_form: str = "an id",
) -> list[Record]:
    """Returns the images of a set in the layout of CUB.

    The label of each is still the id of its class: see `consecutive_labels`.

    Args:
      root: folder of the lists; the one of boxes may be absent.
      key: maps the text of an image's id to the id.
      class_ids: those that an image may have.
      remedy: the sentence that ends each error message.
      id_form: what `key` takes, in words.

    Raises:
      FileNotFoundError: a list is absent.
      ValueError: a row is damaged, or the lists disagree; the message names it.

    Follows: CUB-200-2011 README.
    """

    def rows(
        name: str, parse: Callable[[str], _Value], expected: str, ids: Collection[_Key] | None
    ) -> dict[_Key, _Value]:
        path = root / name
        return read_rows(path, key, parse, expected, remedy=remedy, ids=ids, id_form=id_form)

    names = rows("images.txt", inside, "a path inside the folder images/", None)
    expected = f"one of the {len(class_ids)} class ids in classes.txt"
    known = {class_id: class_id for class_id in class_ids}
    classes = rows("image_class_labels.txt", lambda text: known[int(text)], expected, names)
    split_of = {"1": "train", "0": "test"}.__getitem__
    splits = rows("train_test_split.txt", split_of, "1 (train) or 0 (test)", names)
    boxes = dict.fromkeys(names, NO_BOX)
    if (root / "bounding_boxes.txt").is_file():
        expected = "finite numbers x y width height, the last two above 0, of a box in the image"
        boxes = rows("bounding_boxes.txt", xywh_box, expected, names)
    return [Record(names[row], classes[row], splits[row], boxes[row]) for row in names]


def consecutive_labels(records: Sequence[Record], class_ids: Sequence[int]) -> list[Record]:
    """Returns the records with the position of their class id in `class_ids` as label.

    Class ids may have gaps and start at any number; labels may not.
    """
    label_of = {class_id: label for label, class_id in enumerate(class_ids)}
    return [record._replace(label=label_of[record.label]) for record in records]


def told_apart(classes: Iterable[tuple[str, int | str]]) -> list[str]:
    """Returns the names of classes by name and id: where several have one, with their ids.

    Lists of species repeat names: a plant and an animal may have the same.
    """
    classes = list(classes)
    counts = Counter(name for name, _ in classes)
    return [f"{name} ({key})" if counts[name] > 1 else name for name, key in classes]
