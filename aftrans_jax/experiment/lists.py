"""The lists of images that a run used: recorded, and compared when it goes on or is evaluated."""

import csv
import filecmp
import gzip
import io
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from aftrans_jax.data.examples import Dataset
from aftrans_jax.data.loading.names import composed, locate
from aftrans_jax.experiment.data import photo_table
from aftrans_jax.experiment.workdir import read_result
from aftrans_jax.files import csv_text, write_bytes
from aftrans_jax.training.records import DamagedRecordError

_FOLDER = "image_folder.txt"  # absolute, as `data.dir` may be relative, or a list that moves
_COLUMNS = ["path", "class", "split"]
_NUM_COMPARED = 20  # photos of a set that may have been moved
_UNLISTED = ("synthetic", "tfds:")  # drawn, or read from numbered records


class Listed(NamedTuple):
    """The class of an image and the split that it is in."""

    class_name: str
    split: str


Lists = dict[str, Listed]  # by path of the image, relative to its data set


def listed_images(dataset: Dataset) -> Lists | None:
    """Returns the lists of a photo set; None of a set that is drawn or has numbered records."""
    if dataset.name.startswith(_UNLISTED):
        return None
    return {
        name: Listed(dataset.class_names[label], split)
        for split, source in dataset.splits().items()
        for name, label in zip(source.names, source.labels, strict=True)
    }


def write_lists(path: Path, lists: Lists) -> None:
    """Writes lists as gzipped CSV; bytes of names that are no UTF-8 are kept."""
    text = csv_text([_COLUMNS, *((name, *listed) for name, listed in sorted(lists.items()))])
    write_bytes(path, gzip.compress(text.encode("utf-8", "surrogateescape"), mtime=0))


def read_lists(path: Path) -> Lists | None:
    """Returns what `write_lists` wrote, None where there is no such file.

    Raises:
      DamagedRecordError: it is something else.
    """
    if not path.exists():
        return None
    content = path.read_bytes()
    try:
        text = gzip.decompress(content).decode("utf-8", "surrogateescape")
        header, *rows = csv.reader(io.StringIO(text, newline=""))
        if header != _COLUMNS:
            raise ValueError(f"its columns are {header}")
        return {name: Listed(class_name, split) for name, class_name, split in rows}
    except (ValueError, EOFError, OSError, csv.Error, zlib.error) as error:
        raise DamagedRecordError(
            f"{path} is damaged ({error}): expected the lists of a run"
        ) from error


def has_validation(workdir: Path, settings: Mapping[str, Any]) -> bool:
    """Returns whether a run chose its checkpoint on validation images, held out or its own split.

    Args:
      workdir: of the run.
      settings: that it records, by key.
    """
    if settings["data.validation_fraction"] or "validation" in (read_result(workdir) or {}):
        return True
    try:
        lists = read_lists(workdir / "lists.csv.gz") or {}
    except DamagedRecordError:
        return False
    return any(listed.split == "validation" for listed in lists.values())


def compare_lists(recorded: Lists, present: Lists) -> tuple[list[str], list[str]]:
    """Returns what differs, a line each, and the images that were trained on and would be tested.

    Args:
      recorded: lists that the run used so far.
      present: lists of the data as it is now.
    """
    present = _as_recorded(recorded, present)
    common = recorded.keys() & present.keys()
    moved = [name for name in common if recorded[name].split != present[name].split]
    renamed = [name for name in common if recorded[name].class_name != present[name].class_name]
    counts = {
        "added": present.keys() - recorded.keys(),
        "removed": recorded.keys() - present.keys(),
        "in another split": moved,
        "of another class": renamed,
    }
    lines = [
        f"note: {len(names)} images are {what} since the run was started, such as {min(names)!r}"
        for what, names in counts.items()
        if names
    ]
    return lines, sorted(name for name in moved if recorded[name].split == "train")


def check_lists(path: Path, recorded: Lists, present: Lists) -> list[str]:
    """Returns what differs between recorded and present lists, a line each.

    Raises:
      ValueError: an image that was trained on is now one to test or to choose checkpoints by, or no
        image is one of the run's.
    """
    if recorded and present and not recorded.keys() & _as_recorded(recorded, present).keys():
        raise ValueError(
            f"none of the {len(present)} images, such as {min(present)!r}, is one of the run's "
            f"{len(recorded)}, such as {min(recorded)!r} ({path}): expected the data set that it "
            "was started with. Choose another --workdir"
        )
    lines, leaked = compare_lists(recorded, present)
    if leaked:
        raise ValueError(
            f"{len(leaked)} images that were trained on would be tested, such as {leaked[0]!r} "
            f"({path} has the lists of the run). Restore the images and lists as they were, or "
            "choose another --workdir"
        )
    return lines


def list_notes(workdir: Path, dataset: Dataset) -> list[str]:
    """Returns what differs between the lists of a run and its data set as it is now, a line each.

    Raises:
      ValueError: images that were trained on would be tested, or it is another set.
    """
    path, present = workdir / "lists.csv.gz", listed_images(dataset)
    try:
        recorded = read_lists(path)
    except DamagedRecordError as error:
        return [f"note: {error}. Going on without them"]
    if recorded is None or present is None:
        return []
    return check_lists(path, recorded, present)


def used_images(workdir: Path, data_dir: Path) -> tuple[dict[str, Path], list[str]]:
    """Returns the file of each image that a run trained on or chose checkpoints by, and notes.

    Args:
      workdir: of the run; without lists in it, no image is known.
      data_dir: folder or CSV file that the run recorded.
    """
    try:
        recorded = read_lists(workdir / "lists.csv.gz") or {}
    except DamagedRecordError as error:
        return {}, [f"note: {error}. Which images were trained on is not known"]
    names = [name for name, x in recorded.items() if x.split != "test"]
    root = _image_folder((*_recorded_folder(workdir), *_folders(data_dir)), names)
    return {name: locate(root, name) for name in names}, []


def _recorded_folder(workdir: Path) -> list[Path]:
    path = workdir / _FOLDER
    return [Path(os.fsdecode(path.read_bytes().rstrip(b"\n")))] if path.exists() else []


def _folders(data_dir: Path) -> Iterable[Path]:
    """Yields where the images of a set may lie, first the folder given, or that of a CSV file.

    The photos of CUB lie in `images`, in the folder or in one in it.
    """
    if not os.path.isdir(data_dir):
        return [data_dir.parent]
    return chain((data_dir,), data_dir.glob("*/"), data_dir.glob("*/*/"))


def _image_folder(folders: Iterable[Path], names: Sequence[str]) -> Path:
    """Returns the first folder that has one of a few images of the set, or else the first."""
    few, folders = names[:: max(1, len(names) // _NUM_COMPARED)], iter(folders)
    first = next(folders)
    for folder in chain((first,), folders):
        if any(os.path.isfile(locate(folder, name)) for name in few):
            return folder
    return first


def check_moved(workdir: Path, old: Path, new: Path) -> None:
    """Passes a data set that was moved or copied.

    Args:
      workdir: of the run, with its lists.
      old: folder or CSV file that the run recorded.
      new: that it is given now.

    Raises:
      ValueError: the old one is still there and has other photos, of which a few are compared.
    """
    try:
        names = sorted(read_lists(workdir / "lists.csv.gz") or {})
    except DamagedRecordError:
        return
    if not names or not os.path.exists(old) or old.samefile(new):  # False where it is not known
        return
    roots = [_image_folder(_folders(place), names) for place in (old, new)]
    for name in names[:: max(1, len(names) // _NUM_COMPARED)]:
        then, now = (locate(root, name) for root in roots)
        if then.is_file() and now.is_file() and not filecmp.cmp(then, now, shallow=False):
            raise ValueError(
                f"data.dir was {old}, is now {new}, where {name!r} is another photo: expected the "
                f"data set that {workdir} was started with. Choose another --workdir"
            )


def record_lists(workdir: Path, dataset: Dataset, *, is_resumed: bool) -> None:
    """Writes the lists of a photo set, and the folder that its paths are relative to.

    What was trained on by a run that is gone on with stays listed.
    """
    path, present = workdir / "lists.csv.gz", listed_images(dataset)
    table = photo_table(dataset.test)
    if present is None or table is None:
        return
    try:
        recorded = read_lists(path) if is_resumed else None
    except DamagedRecordError:
        recorded = None  # as `list_notes` has said
    write_lists(path, joined(recorded, present))
    write_bytes(workdir / _FOLDER, os.fsencode(f"{os.path.abspath(table.root)}\n"))


def joined(recorded: Mapping[str, Listed] | None, present: Lists) -> Lists:
    """Returns the lists to record when a run goes on: what was once trained on stays known."""
    recorded = recorded or {}
    trained = {name: x for name, x in recorded.items() if x.split == "train"}
    return trained | _as_recorded(recorded, present)


def _as_recorded(recorded: Mapping[str, Listed], present: Lists) -> Lists:
    """Returns present lists with names in the form of Unicode that the record has them in."""
    other_form = {composed(name): name for name in recorded if name not in present}
    return {
        name if name in recorded else other_form.get(composed(name), name): listed
        for name, listed in present.items()
    }
