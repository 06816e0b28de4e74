"""Folders of photos whose classes seem to lie one level deeper than they are read."""

from collections import Counter, defaultdict

from aftrans_jax.data.doctor.examine import Diagnosis
from aftrans_jax.data.names import composed
from aftrans_jax.wording import first_few, summary

_REMEDY = (
    " Classes are the folders just below data.dir, or below train/ and test/. If these subfolders "
    "are the classes, move them up there, those of one name into one; if not, move their photos "
    "into the folder of their class."
)


def too_deep(diagnosis: Diagnosis) -> list[str]:
    """Returns a note where all photos lie in subfolders whose names recur in every class.

    Those of a single class, or with names that one class alone has, are meant: a class may have
    subfolders. Sets whose classes are not named after folders have no such note.
    """
    if diagnosis.name != "folder":
        return []
    parts = [[composed(part) for part in image.name.split("/")] for image in diagnosis.listed]
    classes = [diagnosis.class_names[image.label] for image in diagnosis.listed]
    depth = 1 if all(x[0] == name for x, name in zip(parts, classes, strict=True)) else 2
    inside = defaultdict(set)
    for path, name in zip(parts, classes, strict=True):
        if len(path) < depth + 2:  # the photo is in the folder of its class
            return []
        inside[name].add(path[depth])
    shared = Counter(name for names in inside.values() for name in names)
    recurring = sorted(name for name, number in shared.items() if number > 1)
    if len(recurring) < 2 or any(not names.intersection(recurring) for names in inside.values()):
        return []
    above = first_few(sorted(inside))
    return [summary(f"subfolders of one name in the classes {above}", recurring, _REMEDY)]
