"""A diagnosis as text: a table, notes, and the problems that would make training wrong."""

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from aftrans_jax.data.doctor.class_folders import too_deep
from aftrans_jax.data.doctor.class_names import near_names
from aftrans_jax.data.doctor.examine import UNKNOWN, Diagnosis, ListedImages
from aftrans_jax.wording import counted, first_few, printable, summary

_NUM_SHOWN = 3  # images named in each finding
_NUM_CLASSES = 10  # up to so many classes are all named, of more the first few


def report(diagnosis: Diagnosis) -> list[str]:
    """Returns the classes and a table of counts as lines, then notes on what is not a problem.

    A note gives a number and at most three names, however many images it concerns.
    """
    where = f" below {diagnosis.root}" if diagnosis.root else ""
    title = f"{diagnosis.name}: {counted(len(diagnosis.listed), 'image')}{where}"
    notes = [f"note: {note}" for note in (*diagnosis.notes, *_notes(diagnosis))]
    return [title, _class_line(diagnosis), "", *_table(diagnosis), *([""] if notes else []), *notes]


def problems(diagnosis: Diagnosis) -> list[str]:
    """Returns problems that would make training, or its score, wrong; each with its remedy.

    A picture in two splits is a problem, except in an official test split: that is used as it is,
    because results are compared on it.

    Greyscale and tiny images, and pictures repeated within a split, are not problems.
    """
    return _findings(
        (
            "missing images",
            _names(diagnosis.missing),
            f" {diagnosis.missing_remedy}",
        ),
        (
            "unreadable images",
            _names(diagnosis.undecodable),
            f" The first: {diagnosis.error}",
        ),
        (
            "classes without a readable training image",
            _classes(diagnosis, num_train=0),
            " Add images of each, or take the class off the lists.",
        ),
        (
            "pictures under two labels in train",
            _ambiguous(diagnosis, "train"),
            " Take the wrong ones off the lists.",
        ),
        *(
            (
                f"pictures both in {one} and in {other}",
                [] if diagnosis.official and other == "test" else _shared(diagnosis, one, other),
                " The score would be too high: take them out of one of the two.",
            )
            for one, other in combinations(diagnosis.splits, 2)
        ),
        (
            "boxes that do not lie on their photos",
            _names(diagnosis.astray),
            " Scores of boxes would be wrong: correct them, or take away the list of boxes.",
        ),
    )


def _class_line(diagnosis: Diagnosis) -> str:
    names = diagnosis.class_names
    shown = ", ".join(names) if len(names) <= _NUM_CLASSES else first_few(names)
    return f"{counted(len(names), 'class')}: {printable(shown)}"


def _notes(diagnosis: Diagnosis) -> list[str]:
    return too_deep(diagnosis) + _findings(
        ("image files that no list names", diagnosis.surplus, ""),
        (
            "images whose bit depth their files do not tell",
            _names(diagnosis.guessed),
            f" Of the first, {diagnosis.guess}.",
        ),
        ("greyscale images", _names(diagnosis.grey), ""),
        (f"images with a side below {diagnosis.tiny_px} px", _names(diagnosis.tiny), ""),
        ("classes with one readable training image", _classes(diagnosis, num_train=1), ""),
        (
            "classes of one listed image",
            _lonely(diagnosis),
            " A misspelt label makes such a class.",
        ),
        (
            "class names that are nearly the same",
            [] if diagnosis.official else near_names(diagnosis.class_names),
            " Is one misspelt?",
        ),
        *(
            (f"pictures more than once in {split}", _repeated(diagnosis, split), "")
            for split in diagnosis.splits
        ),
        (
            "pictures under two labels in test",
            _ambiguous(diagnosis, "test"),
            " At most one of each can be scored as right.",
        ),
        *(
            (
                f"pictures both in {split} and in test",
                _shared(diagnosis, split, "test") if diagnosis.official else [],
                " Kept, as in the official split, on which results are compared.",
            )
            for split in diagnosis.splits[:-1]
        ),
    )


def _findings(*findings: tuple[str, Sequence[str], str]) -> list[str]:
    """Returns a line for each (what, names, remedy) of which there is at least one."""
    return [summary(*finding) for finding in findings if finding[1]]


def _names(images: ListedImages) -> list[str]:
    return [image.name for image in images]


def _groups(diagnosis: Diagnosis, groups: Iterable[ListedImages]) -> list[str]:
    """Returns one text for each group, with the names, splits and classes of its images."""
    return [
        " = ".join(
            f"{image.name} ({image.split}, {diagnosis.class_names[image.label]})"
            for image in group[:_NUM_SHOWN]
        )
        + (f" = {len(group) - _NUM_SHOWN} more" if len(group) > _NUM_SHOWN else "")
        for group in groups
    ]


def _of(group: ListedImages, split: str) -> ListedImages:
    return tuple(image for image in group if image.split == split)


def _ambiguous(diagnosis: Diagnosis, split: str) -> list[str]:
    groups = [_of(group, split) for group in diagnosis.twins]
    return _groups(diagnosis, (group for group in groups if len({i.label for i in group}) > 1))


def _repeated(diagnosis: Diagnosis, split: str) -> list[str]:
    groups = [_of(group, split) for group in diagnosis.twins]
    same = (g for g in groups if len(g) > 1 and len({image.label for image in g}) == 1)
    return _groups(diagnosis, same)


def _shared(diagnosis: Diagnosis, one: str, other: str) -> list[str]:
    """Returns the groups that have images in both splits, as text."""
    shared = (g for g in diagnosis.twins if {one, other} <= {image.split for image in g})
    return _groups(diagnosis, shared)


def _lonely(diagnosis: Diagnosis) -> list[str]:
    labels = [image.label for image in diagnosis.listed if image.label != UNKNOWN]
    counts = np.bincount(np.array(labels, int), minlength=len(diagnosis.class_names))
    return [diagnosis.class_names[label] for label in np.flatnonzero(counts == 1)]


def _classes(diagnosis: Diagnosis, *, num_train: int) -> list[str]:
    counts = _images_a_class(diagnosis, "train")
    return [diagnosis.class_names[label] for label in np.flatnonzero(counts == num_train)]


def _images_a_class(diagnosis: Diagnosis, split: str) -> np.ndarray:
    labels = [image.label for image in _of(diagnosis.readable, split)]
    return np.bincount(np.array(labels, int), minlength=len(diagnosis.class_names))


def _table(diagnosis: Diagnosis) -> list[str]:
    """Returns a row for each count and a column for each split."""
    splits = diagnosis.splits
    counts = [_images_a_class(diagnosis, split) for split in splits]
    train, test = diagnosis.official or ("-", "-")
    published = {"train": train, "validation": "-", "test": test}
    rows = [
        ("", *splits),
        ("official", *(published[split] for split in splits)),
        ("listed", *(len(_of(diagnosis.listed, split)) for split in splits)),
        ("readable", *(of.sum() for of in counts)),
        ("fewest in a class", *(of.min() for of in counts)),
        ("median in a class", *(f"{np.median(of):g}" for of in counts)),
        ("most in a class", *(of.max() for of in counts)),
    ]
    octaves = [np.array([int(number).bit_length() for number in of]) for of in counts]
    for octave in sorted(set().union(*(of.tolist() for of in octaves))):
        low = 2**octave // 2
        high = 2**octave - 1
        bounds = f"{low}" if low >= high else f"{low} to {high}"
        rows.append((f"classes with {bounds}", *((of == octave).sum() for of in octaves)))
    widths = [max(8, len(split) + 3) for split in splits]
    return [
        f"  {name:<24}{''.join(f'{v:>{w}}' for v, w in zip(of, widths, strict=True))}".rstrip()
        for name, *of in rows
    ]
