"""Which files below a folder are photos, and what is left out."""

import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from aftrans_jax.data.decoding.formats import HEIC, HEIC_REMEDY, HEIC_SUFFIXES, photo_suffixes
from aftrans_jax.data.names import composed
from aftrans_jax.wording import summary

# What operating systems, network storage, editors and notebooks leave, in lower case. Hidden files
# and folders, whose names begin with a dot, are left out as well.
_HELPERS = frozenset(
    {"__macosx", "network trash folder", "temporary items", "icon\r", "thevolumesettingsfolder"}
    | {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "msocache"}  # Windows
    | {"$recycle.bin", "system volume information"}
    | {"lost+found"}  # Linux
    | {"@eadir", "@tmp", "@sharebin", "#recycle", "#snapshot", "@sharesnap"}  # Synology
    | {"@appstore", "@appdata", "@database"}
    | {"@recycle", "@recently-snapshot", "@transcode", "@__thumb"}  # QNAP
    | {"~snapshot", "_gsdata_", "files_trashbin"}  # NetApp, GoodSync, Nextcloud
    | {"__pycache__", "_thumbs"}
)
# Also words, which name a class as well: helpers only where photos lie beside the folder. Beside
# the folder of a class there are none.
_WORDS = frozenset({"recycler", "recycled", "thumbs", "trashbox"})
# Hidden; what Office has open; Thecus's bin; and what Windows finds when it checks a disk.
_HELPER_FORMS = re.compile(r"\..*|~\$.*|_nas_recycle_.*|found\.\d{3}", re.DOTALL)


class FoundFiles(NamedTuple):
    """Paths relative to a folder, sorted.

    Photos, files that are none, helpers of programs, and folders that cannot be read: links that
    lead nowhere may be such.
    """

    photos: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    helpers: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()

    def notes(self) -> tuple[str, ...]:
        """Returns a line for each kind of files that is left out."""
        heic = [name for name in self.others if _suffix(name) in HEIC_SUFFIXES]
        remedy = "" if HEIC else f" {HEIC_REMEDY}."
        findings = (
            ("HEIC photos left out", heic, remedy),
            (
                "files left out whose suffix is no photo's",
                [name for name in self.others if _suffix(name) not in HEIC_SUFFIXES],
                "",
            ),
            ("hidden files and folders of other programs left out", self.helpers, ""),
            ("folders or links left out that cannot be read", self.closed, ""),
        )
        return tuple(summary(*finding) for finding in findings if finding[1])


def find_files(root: str | Path, within: Collection[str] | None = None) -> FoundFiles:
    """Returns the files below a folder; photos are known by their suffix, none is opened.

    Links are followed, except to a folder that contains the link. What other programs leave, such
    as thumbnails of network storage, is left out, its folders as a whole. A folder whose name is a
    word, such as `thumbs`, is left out only beside photos: elsewhere it may be a class.

    Args:
      root: the folder.
      within: names, in Unicode's form NFC, of the folders in it that are looked through; None: all.
    """
    names: dict[str, list[str]] = {kind: [] for kind in FoundFiles._fields}
    for kind, name in _below(Path(root), "", (), within):
        names[kind].append(name)
    return FoundFiles(*(tuple(sorted(names[kind])) for kind in FoundFiles._fields))


def subfolders(root: str | Path) -> list[str]:
    """Returns the names of the folders in a folder, but for those of other programs."""
    with os.scandir(root) as scan:
        entries = list(scan)
    helpers = _helpers(entry.name for entry in entries)
    return [entry.name for entry in entries if entry.name not in helpers and _is_folder(entry)]


def helpers_among(root: str, names: Iterable[str], asked: Collection[str] = ()) -> list[str]:
    """Returns the paths that `find_files` leaves out as what other programs leave.

    Args:
      root: folder that they are relative to, "" for the working directory.
      names: the paths, of files and folders that are there.
      asked: names that are none of a helper, whatever they are.

    Raises:
      OSError: a folder with a word for a helper in it cannot be read.
    """
    listed: dict[str, set[str]] = {}

    def is_helper(folder: str, name: str) -> bool:
        if name.lower() in _WORDS:  # photos beside it tell
            if folder not in listed:
                listed[folder] = _helpers(os.listdir(folder or "."))
            return name in listed[folder]
        return _is_helper(name)

    helpers = []
    for name in names:
        parts = name.split("/")
        folders = (os.path.join(root, *parts[:depth]) for depth in range(len(parts)))
        pairs = zip(folders, parts, strict=True)
        if any(part not in asked and is_helper(folder, part) for folder, part in pairs):
            helpers.append(name)
    return helpers


def _below(
    folder: Path, prefix: str, above: tuple[Path, ...], within: Collection[str] | None = None
) -> Iterator[tuple[str, str]]:
    """Yields kind and path of each file; `above` are the real folders on the way."""
    here = folder.resolve()
    if any(parent.is_relative_to(here) for parent in above):
        return  # a link to a folder that contains it
    try:
        with os.scandir(folder) as scan:
            entries = list(scan)
    except OSError:
        yield "closed", prefix or "."
        return
    helpers = _helpers(entry.name for entry in entries)
    for entry in entries:
        name = prefix + entry.name
        if within is not None and composed(entry.name) not in within and _is_folder(entry):
            continue
        if entry.name in helpers:
            yield "helpers", name
        elif _is_folder(entry):
            yield from _below(folder / entry.name, f"{name}/", (*above, here))
        elif _is_photo(entry.name):  # a dangling link too, so that it is reported as missing
            yield "photos", name
        else:
            leads_nowhere = entry.is_symlink() and not os.path.exists(entry.path)
            yield "closed" if leads_nowhere else "others", name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _helpers(names: Iterable[str]) -> set[str]:
    """Returns which names of one folder are those of what other programs leave."""
    names = list(names)
    helpers = {name for name in names if _is_helper(name)}
    if any(_is_photo(name) for name in names if name not in helpers):
        helpers.update(name for name in names if name.lower() in _WORDS)
    return helpers


def _is_helper(name: str) -> bool:
    return name.lower() in _HELPERS or _HELPER_FORMS.fullmatch(name.lower()) is not None


def _is_photo(name: str) -> bool:
    return _suffix(name) in photo_suffixes()


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
