"""Names of weights as given to `pretrained`: official names, the hub's, and paths."""

import re
from pathlib import Path

_OFFICIAL = re.compile(r"(imagenet21k|imagenet21k\+imagenet2012|augreg|sam|gsam)/[\w.+-]+")
HUB = "hf:"

# Hugging Face's names of a model's file, the same for all models.
FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")


def is_official(name: str) -> bool:
    """Returns whether a value of `pretrained` is the name of official weights, not a path."""
    return _OFFICIAL.fullmatch(name) is not None and not Path(name).exists()


def is_downloaded(name: str) -> bool:
    """Returns whether a value of `pretrained` is a name to download, not a path."""
    return name.startswith(HUB) or is_official(name)


def weights_name(value: str) -> str:
    """Returns a short name of weights: a name as it is, of a path its last part or its folder's."""
    name = value.removesuffix(".npz")
    if name.startswith(HUB) or _OFFICIAL.fullmatch(name):
        return name
    path = Path(name)
    return path.parent.name if path.name in FOLDER_FILES else path.name
