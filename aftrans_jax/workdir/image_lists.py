"""The lists of images that a run used: recorded, and compared when it resumes or is evaluated."""

import csv
import gzip
import io
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from aftrans_jax.data.examples import Dataset
from aftrans_jax.data.names import composed
from aftrans_jax.data.sets.subsets import photo_table
from aftrans_jax.files import csv_text, write_bytes
from aftrans_jax.json_files import DamagedRecordError
from aftrans_jax.wording import counted

_FOLDER = "image_folder.txt"  # absolute, since `data.dir` may be relative or a list that moves
_COLUMNS = ["path", "class", "split"]
_UNLISTED = ("synthetic", "tfds:")  # generated, or read from numbered records


class ListEntry(NamedTuple):
    """The class and the split of an image in a run's lists."""

    class_name: str
    split: str

    @property
    def is_used(self) -> bool:
        """Whether the run was trained on it, or chose its checkpoint by it."""
        return self.split != "test"


Lists = dict[str, ListEntry]  # by path of the image, relative to its data set


def listed_images(dataset: Dataset) -> Lists | None:
    """Returns the lists of a photo set; None for a set that is generated or of numbered records."""
    if dataset.name.startswith(_UNLISTED):
        return None
    return {
        name: ListEntry(dataset.class_names[label], split)
        for split, source in dataset.splits().items()
        for name, label in zip(source.names, source.labels, strict=True)
    }


def write_lists(path: Path, lists: Lists) -> None:
    """Writes lists as gzipped CSV; bytes of names that are not UTF-8 are kept."""
    text = csv_text([_COLUMNS, *((name, *listed) for name, listed in sorted(lists.items()))])
    write_bytes(path, gzip.compress(text.encode("utf-8", "surrogateescape"), mtime=0))


def read_lists(path: Path) -> Lists | None:
    """Returns the lists that `write_lists` wrote, None where there is no such file.

    Raises:
      DamagedRecordError: the file holds something else.
    """
    if not path.exists():
        return None
    content = path.read_bytes()
    try:
        text = gzip.decompress(content).decode("utf-8", "surrogateescape")
        header, *rows = csv.reader(io.StringIO(text, newline=""))
        if header != _COLUMNS:
            raise ValueError(f"its columns are {header}")
        return {name: ListEntry(class_name, split) for name, class_name, split in rows}
    except (ValueError, EOFError, OSError, csv.Error, zlib.error) as error:
        raise DamagedRecordError(
            f"{path} is damaged ({error}): expected the lists of a run"
        ) from error


def compare_lists(recorded: Lists, present: Lists) -> tuple[list[str], list[str]]:
    """Returns the differences, one line each, and the used images that would be scored.

    An image may move from test to validation or training, or from validation to training, but not
    in the opposite direction.

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
        f"note: {counted(len(names), 'image')} {'is' if len(names) == 1 else 'are'} {what} since "
        f"the run was started, such as {min(names)!r}"
        for what, names in counts.items()
        if names
    ]
    gone = [name for name in counts["removed"] if recorded[name].is_used]
    tested = [name for name in counts["added"] if present[name].split == "test"]
    if gone and tested:
        lines.append(
            f"note: {len(gone)} of the removed images were trained on, or chose checkpoints, and "
            f"{len(tested)} of the added ones are tested. If some are the same photos under other "
            "names, the score is of what was trained on: choose another --workdir"
        )
    order = ("train", "validation", "test")
    leaked = [
        name
        for name in moved
        if order.index(recorded[name].split) < order.index(present[name].split)
    ]
    return lines, sorted(leaked)


def check_lists(path: Path, recorded: Lists, present: Lists) -> list[str]:
    """Returns the differences between recorded and present lists, one line each.

    Raises:
      ValueError: used images would be scored, see `compare_lists`, or no present image is in the
        recorded lists.
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
            f"{len(leaked)} images that were trained on, or chose checkpoints, would be scored, "
            f"such as {leaked[0]!r} ({path} has the lists of the run). Restore the images and "
            "lists as they were, or choose another --workdir"
        )
    return lines


def list_notes(workdir: Path, dataset: Dataset) -> list[str]:
    """Returns the differences between a run's lists and its data set as it is now, one line each.

    Raises:
      ValueError: see `check_lists`.
    """
    path = workdir / "lists.csv.gz"
    present = listed_images(dataset)
    try:
        recorded = read_lists(path)
    except DamagedRecordError as error:
        return [f"note: {error}. Going on without them"]
    if recorded is None or present is None:
        return []
    return check_lists(path, recorded, present)


def record_lists(workdir: Path, dataset: Dataset, *, is_resumed: bool) -> None:
    """Writes the lists of a photo set, and the folder that its paths are relative to.

    Images that a resumed run has used stay listed.
    """
    path = workdir / "lists.csv.gz"
    present = listed_images(dataset)
    table = photo_table(dataset.test)
    if present is None or table is None:
        return
    try:
        recorded = read_lists(path) if is_resumed else None
    except DamagedRecordError:
        recorded = None  # `list_notes` has reported it
    write_lists(path, joined(recorded, present))
    write_bytes(workdir / _FOLDER, os.fsencode(f"{os.path.abspath(table.root)}\n"))


def recorded_folder(workdir: Path) -> list[Path]:
    """Returns the folder that recorded paths are relative to, or an empty list."""
    path = workdir / _FOLDER
    return [Path(os.fsdecode(path.read_bytes().rstrip(b"\n")))] if path.exists() else []


def joined(recorded: Mapping[str, ListEntry] | None, present: Lists) -> Lists:
    """Returns the lists to record when a run resumes; images that were once used stay listed."""
    recorded = recorded or {}
    used = {name: x for name, x in recorded.items() if x.is_used}
    return used | _as_recorded(recorded, present)


def _as_recorded(recorded: Mapping[str, ListEntry], present: Lists) -> Lists:
    """Returns present lists with names in the Unicode form in which the record has them."""
    other_form = {composed(name): name for name in recorded if name not in present}
    return {
        name if name in recorded else other_form.get(composed(name), name): listed
        for name, listed in present.items()
    }
