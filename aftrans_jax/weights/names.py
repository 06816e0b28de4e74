"""Names of weights as given to `pretrained`: official names, the hub's, and paths."""

import re
from pathlib import Path
from types import MappingProxyType

_OFFICIAL = re.compile(r"(imagenet21k|imagenet21k\+imagenet2012|augreg|sam|gsam)/[\w.+-]+")
HUB = "hf:"

# Folder -> its plain ViTs, as vit_jax.ipynb of google-research/vision_transformer lists them. Files
# may have come since, so that nothing is refused by it.
_LISTED = MappingProxyType(
    {
        "imagenet21k": ("ViT-B_8", "ViT-B_16", "ViT-B_32", "ViT-L_16", "ViT-L_32", "ViT-H_14"),
        "imagenet21k+imagenet2012": (
            "ViT-B_8",
            "ViT-B_16-224",
            "ViT-B_16",
            "ViT-B_32",
            "ViT-L_16-224",
            "ViT-L_16",
            "ViT-L_32",
        ),
    }
)

# Hugging Face's names of a model's file, the same for all models.
FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")


def is_official(name: str) -> bool:
    """Returns whether a value of `pretrained` is the name of official weights, not a path."""
    return _OFFICIAL.fullmatch(name) is not None and not Path(name).exists()


def listed_beside(name: str) -> str:
    """Returns the official names of a folder that lacks this one, in words.

    "" where the name is listed, the folder is not, or the name is of a hybrid with a ResNet, such
    as R50+ViT-B_16.
    """
    folder, _, file = name.partition("/")
    names = _LISTED.get(folder, ())
    if not names or file in names or "+" in file:
        return ""
    return f"; Google's list of {folder}/ has no {file}, but {', '.join(names)}"


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
