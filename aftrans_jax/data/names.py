"""Names of files and classes: independent of their Unicode form, and safe to print."""

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

_NUM_SHOWN = 3  # names in each message


def composed(name: str) -> str:
    """Returns a name in Unicode's form NFC: macOS stores "ü" as two characters, others as one."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def locate(root: Path, name: str) -> Path:
    """Returns the path of a listed file as the disk spells it, whatever its Unicode form.

    Args:
      root: folder that the name is relative to.
      name: path with forward slashes; it is returned unchanged where there is no such file.
    """
    path = root / name
    if name.isascii() or os.path.exists(path):
        return path
    here = root
    for part in name.split("/"):
        forms = (part, *(unicodedata.normalize(form, part) for form in ("NFC", "NFD")))
        existing = next((here / form for form in forms if os.path.exists(here / form)), None)
        if existing is None:
            return path
        here = existing
    return here


def printable(text: str) -> str:
    """Returns a text with characters escaped that a terminal would obey, or could not show.

    These are control characters, marks of direction, and bytes of names that are not UTF-8.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun in the right form: "1 image", "2 classes"."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending}"


def first_few(names: Sequence[str]) -> str:
    """Returns the first three names, and "..." for the rest."""
    return ", ".join([*names[:_NUM_SHOWN], *["..."] * (len(names) > _NUM_SHOWN)])


def summary(what: str, names: Sequence[str], remedy: str = "") -> str:
    """Returns one line: a finding with the number of names, the first few, and a remedy."""
    end = "" if len(names) > _NUM_SHOWN else "."
    return f"{what} ({len(names)}): {printable(first_few(names))}{end}{remedy}"
