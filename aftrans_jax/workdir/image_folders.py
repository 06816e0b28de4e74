"""The folders of a run's photos: which photos it used, and whether a moved set is the same."""

import filecmp
import os
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from aftrans_jax.data.names import locate
from aftrans_jax.json_files import DamagedRecordError
from aftrans_jax.workdir.image_lists import read_lists, recorded_folder

_NUM_COMPARED = 20  # photos compared of a set that may have been moved


def used_images(workdir: Path, data_dir: Path) -> tuple[dict[str, Path], list[str]]:
    """Returns the file of each image that a run trained on or chose checkpoints by, and notes.

    Args:
      workdir: directory of the run; without lists in it, no image is known.
      data_dir: folder or CSV file that the run recorded.
    """
    try:
        recorded = read_lists(workdir / "lists.csv.gz") or {}
    except DamagedRecordError as error:
        return {}, [f"note: {error}. Which images were trained on is not known"]
    names = [name for name, x in recorded.items() if x.is_used]
    root = _image_folder(chain(recorded_folder(workdir), _folders(data_dir)), names)
    return {name: locate(root, name) for name in names}, []


def _folders(data_dir: Path) -> Iterable[Path]:
    """Yields possible folders of a set's images, first the folder given, or that of a CSV file.

    The photos of CUB are in `images`, in the folder itself or one level below.
    """
    if not os.path.isdir(data_dir):
        return [data_dir.parent]
    return chain((data_dir,), data_dir.glob("*/"), data_dir.glob("*/*/"))


def _image_folder(folders: Iterable[Path], names: Sequence[str]) -> Path:
    """Returns the first folder that has one of a few images of the set, or else the first one."""
    few = names[:: max(1, len(names) // _NUM_COMPARED)]
    folders = iter(folders)
    first = next(folders)
    for folder in chain((first,), folders) if few else ():
        if any(os.path.isfile(locate(folder, name)) for name in few):
            return folder
    return first


def check_moved(workdir: Path, old: Path, new: Path) -> None:
    """Checks that the data set given now is the recorded one, moved or copied.

    Args:
      workdir: directory of the run, with its lists.
      old: folder or CSV file that the run recorded.
      new: folder or CSV file given now.

    Raises:
      ValueError: the old one still exists, and the new one does not, or has other photos, of which
        a few are compared.
    """
    try:
        names = sorted(read_lists(workdir / "lists.csv.gz") or {})
    except DamagedRecordError:
        return
    if not names or not os.path.exists(old):  # also False where it cannot be read
        return
    if not os.path.exists(new):
        raise ValueError(
            f"data.dir was {old}, is now {new}, which is not there: expected the data set that "
            f"{workdir} was started with. Set it back"
        )
    if old.samefile(new):
        return
    roots = [_image_folder(_folders(place), names) for place in (old, new)]
    for name in names[:: max(1, len(names) // _NUM_COMPARED)]:
        then, now = (locate(root, name) for root in roots)
        if then.is_file() and now.is_file() and not filecmp.cmp(then, now, shallow=False):
            raise ValueError(
                f"data.dir was {old}, is now {new}, where {name!r} is another photo: expected the "
                f"data set that {workdir} was started with. Choose another --workdir"
            )
