"""Names of official weights, as they stand in `pretrained` in the place of a path."""

import re
from pathlib import Path

_OFFICIAL = re.compile(r"(imagenet21k|imagenet21k\+imagenet2012|augreg|sam|gsam)/[\w.+-]+")


def is_official(name: str) -> bool:
    """Returns whether a value of `pretrained` is the name of official weights, not a path."""
    return _OFFICIAL.fullmatch(name) is not None and not Path(name).exists()


def weights_name(value: str) -> str:
    """Returns what tells weights apart: an official name whole, of a path its last part."""
    name = value.removesuffix(".npz")
    return name if _OFFICIAL.fullmatch(name) else Path(name).name
