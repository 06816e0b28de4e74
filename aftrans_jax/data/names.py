"""Names of files and classes, independent of their Unicode form."""

import os
import unicodedata
from pathlib import Path


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
