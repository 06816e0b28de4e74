"""Folders of photos, one for each class.

Either `train/<class>/` beside `test/<class>/`, or only `<class>/`, with a fraction held out.
"""

import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from aftrans_jax.data.decoding.formats import photo_suffixes
from aftrans_jax.data.sets.annotations import Annotations
from aftrans_jax.data.sets.files import FoundFiles, find_files, subfolders
from aftrans_jax.data.sets.named_classes import SPLIT_NAMES, NamedPhoto, from_names
from aftrans_jax.wording import counted

_REMEDY = (
    "Arrange the images as train/<class>/ and test/<class>/, or as <class>/ alone, and set data.dir"
    " to the folder around them."
)


def read_folder(
    directory: str | Path, *, test_fraction: float = 0.2, seed: int = 0, evaluates: bool = False
) -> Annotations:
    """Returns the photos in folders; a class is named after its folder, which may have subfolders.

    Checkpoints are chosen on `val/`; where there is no `test/`, it is the test split. A single
    folder with the name of a split is a class, if it holds photos itself and has classes beside it.
    A folder without photos that holds runs of this program, by their config.json, is not a class.

    Args:
      directory: folder with a folder for each split, named as in `SPLIT_NAMES`, or for each class.
      test_fraction: fraction of each class to hold out where there are no splits, in (0, 1).
      seed: seed for the choice of held-out images, at least 0.
      evaluates: see `from_names`.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: the folders have another structure, or one cannot be read; or see
        `from_names`.
    """
    root = Path(directory)
    files = _readable_files(root)
    splits = _splits(root, files.photos)
    classes = {f"{split}/{name}" for split in splits for name in subfolders(root / split)}
    if not splits:
        classes = set(subfolders(root))
    depth = 2 if splits else 1
    class_of = {path: "/".join(path.split("/")[:depth]) for path in files.photos}
    _check_places(root, class_of, classes - _of_runs(classes, files), evaluates=evaluates)
    photos = []
    for path, folder in class_of.items():
        split, _, class_name = folder.rpartition("/")
        photos.append(NamedPhoto(path, class_name, split))
    lists = from_names(
        "folder",
        root,
        photos,
        source=root,
        remedy=_hint(root, splits) + _REMEDY,
        test_fraction=test_fraction,
        seed=seed,
        evaluates=evaluates,
    )
    remedy = "Restore these files, or remove the links that lead to them."
    return lists._replace(
        notes=(*lists.notes, *files.notes()), missing_remedy=remedy, is_looked_through=True
    )


def _hint(root: Path, splits: Sequence[str]) -> str:
    """Returns advice to name a folder deeper down, where the only one holds several."""
    only = [root / name for name in subfolders(root)]
    if splits or len(only) != 1 or len(subfolders(only[0])) < 2:
        return ""
    place = shlex.quote(str(only[0]))
    return f"If the classes or splits are in {only[0].name}/, use --config.data.dir={place}. "


def _readable_files(root: Path) -> FoundFiles:
    """Returns the files in a folder; raises where it is missing, or a part cannot be read."""
    if not root.is_dir():
        is_list = root.suffix.lower() == ".csv"
        remedy = "For a CSV list add --config.data.name=csv" if is_list else _REMEDY
        raise FileNotFoundError(f"{root} is not a folder: expected one with images. {remedy}")
    files = find_files(root)
    if files.closed:
        number = len(files.closed)
        what = "folder or link" if number == 1 else "folders or links"
        raise ValueError(
            f"{root} has {number} {what} that cannot be read, the first: "
            f"{files.closed[0]!r}: expected to read all. Give yourself the permission to, attach "
            "the disk that a link leads to, or move them elsewhere."
        )
    return files


def _splits(root: Path, photos: Sequence[str]) -> list[str]:
    """Returns the folders that are splits."""
    folders = subfolders(root)
    splits = [name for name in folders if name.lower() in SPLIT_NAMES]
    if len(splits) == 1 < len(folders):
        prefix = f"{splits[0]}/"
        if any(path.startswith(prefix) and "/" not in path[len(prefix) :] for path in photos):
            return []
    return splits


def _of_runs(classes: Collection[str], files: FoundFiles) -> set[str]:
    """Returns the folders without photos that hold runs of this program."""
    records = [path for path in files.others if path.endswith("/config.json")]
    inside = {name for name in classes for path in records if path.startswith(f"{name}/")}
    return {name for name in inside if not any(x.startswith(f"{name}/") for x in files.photos)}


def _check_places(
    root: Path, class_of: Mapping[str, str], classes: Collection[str], *, evaluates: bool
) -> None:
    """Raises where an image, a key of `class_of`, is in no class, or a class has no images.

    In an evaluation some classes may have no images.
    """
    stray = [path for path, folder in class_of.items() if folder not in classes]
    if stray:
        raise ValueError(
            f"{root} has {counted(len(stray), 'image')} outside the folders of classes, the first: "
            f"{stray[0]!r}: expected every image inside one. {_REMEDY}"
        )
    empty = sorted(set(classes) - set(class_of.values()))
    if empty and not evaluates:
        raise ValueError(
            f"{root} has {counted(len(empty), 'folder')} without images, the first: {empty[0]!r}: "
            f"expected files that end in {' '.join(sorted(photo_suffixes()))} in the folder of a "
            "class. Fill these folders or remove them."
        )
