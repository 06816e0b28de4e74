"""The names of a run's classes: those of classes.json, or where it is lost, of the run's lists."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aftrans_jax.data.examples import Dataset
from aftrans_jax.data.sets.named_classes import in_order
from aftrans_jax.json_files import DamagedRecordError, write_json
from aftrans_jax.wording import first_few
from aftrans_jax.workdir.image_lists import listed_images, read_lists
from aftrans_jax.workdir.record import read_classes

_BY_NAME = ("folder", "csv")  # sets whose classes are numbered by `in_order`
_REMEDY = (
    "Bring the data, or that file, back as they were at the training, or choose another --workdir"
)


def run_classes(
    workdir: Path, settings: Mapping[str, Any], say: Callable[[str], None]
) -> list[str]:
    """Returns the names of the classes of a run, in the order of its head; only reads.

    Where classes.json is lost they are taken from the lists, if their order follows from the names.

    Args:
      workdir: directory of a run.
      settings: its settings, by key.
      say: called with a line where classes.json cannot be used and the lists are.

    Raises:
      FileNotFoundError: there is no classes.json, and the lists do not tell the order.
      DamagedRecordError: likewise, where the file is damaged.
    """
    found, lost = _read(workdir)
    if found:
        return found
    names = _listed(workdir)
    if names and settings["data.name"] in _BY_NAME:
        say(f"note: {lost}. The classes are taken from {workdir / 'lists.csv.gz'}")
        return in_order(names)
    is_there = (workdir / "classes.json").exists()
    raise (DamagedRecordError if is_there else FileNotFoundError)(
        f"{lost}, so the order of the classes is not known. Run python -m aftrans_jax.main "
        f"--workdir={workdir} once with its data, which writes it again"
    )


def class_notes(workdir: Path, dataset: Dataset) -> list[str]:
    """Returns a note where the classes.json of a run is lost, and is to be written anew.

    Raises:
      ValueError: the data have other classes than the run, or it is not known which the run has.
    """
    path = workdir / "classes.json"
    lists = workdir / "lists.csv.gz"
    found, lost = _read(workdir)
    if found:
        _check_same(workdir, path.name, found, dataset.class_names)
        if found != list(dataset.class_names):
            pairs = zip(found, dataset.class_names, strict=True)
            old, new = next(pair for pair in pairs if pair[0] != pair[1])
            raise ValueError(
                f"the classes of the data are in another order than in {path}, such as {new!r} "
                f"in the place of {old!r}: expected that of the training. {_REMEDY}"
            )
        return []
    present = listed_images(dataset)
    if present is None:
        return [f"note: {lost}. It is written anew, with the classes of {dataset.name}"]
    names = _listed(workdir)
    if not names:
        raise ValueError(
            f"{lost}, and {lists} is absent or damaged too: expected one of them, since which "
            "classes the run was trained on is not known otherwise. Bring one back from a copy, or "
            "choose another --workdir"
        )
    # A class of an official list may have no images.
    unlisted = set(dataset.class_names) - {listed.class_name for listed in present.values()}
    _check_same(workdir, lists.name, in_order(names | unlisted), dataset.class_names)
    return [f"note: {lost}. It is written anew: {lists} has the classes of the data"]


def restore_classes(workdir: Path, dataset: Dataset) -> None:
    """Writes the classes.json of a run where it is lost, once `class_notes` has compared them."""
    if not _read(workdir)[0]:
        write_json(workdir / "classes.json", dataset.class_names)


def _read(workdir: Path) -> tuple[list[str], str]:
    """Returns the contents of classes.json, or an empty list and why there are none."""
    try:
        return read_classes(workdir), ""
    except FileNotFoundError:
        return [], f"{workdir / 'classes.json'} is absent"
    except DamagedRecordError as error:
        return [], str(error)


def _listed(workdir: Path) -> set[str]:
    """Returns the classes of the images that a run has listed; none where the lists are lost."""
    try:
        lists = read_lists(workdir / "lists.csv.gz") or {}
    except DamagedRecordError:
        return set()
    return {listed.class_name for listed in lists.values()}


def _check_same(workdir: Path, file: str, recorded: Sequence[str], present: Sequence[str]) -> None:
    """Raises ValueError where the data lack a recorded class, or have one that is not recorded."""
    old = set(recorded)
    now = set(present)
    gone = [name for name in recorded if name not in now]
    new = [name for name in present if name not in old]
    said = [
        f"{first_few([repr(name) for name in names])} {what}"
        for names, what in ((gone, "not in the data"), (new, "only in the data"))
        if names
    ]
    if said:
        raise ValueError(
            f"the data have other classes than {workdir / file}: {'; '.join(said)}: expected those "
            f"that the run was trained on. {_REMEDY}"
        )
