"""How the model in a file was trained, as far as the configuration has to agree with it."""

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from aftrans_jax.weights.foreign_names import Naming
from aftrans_jax.weights.sidecar_files import SidecarConfig, triple

_MAX_SIZE = 10_000  # px
_HALVES = (0.5, 0.5, 0.5)
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Origin(NamedTuple):
    """Settings that the model in a file was trained with.

    Attributes:
      gelu: "exact" or "tanh".
      mean, std: mean and standard deviation of pixel values in [0, 1].
      reason: how these are known.
      size: side of the images in px; None where positions show it, see `fitting.trained_size`.
    """

    gelu: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    reason: str
    size: int | None = None


DEIT = Origin(
    "exact",
    *_IMAGENET,
    "DeiT, by the file's name: trained in PyTorch with the exact GELU and ImageNet's mean and std",
)
DEIT_IN_BIG_VISION = Origin(
    "exact",
    _HALVES,
    _HALVES,
    "DeiT by the file's name, with big_vision's names: its first layer was converted to [-1, 1]",
)
OFFICIAL = Origin(
    "tanh",
    _HALVES,
    _HALVES,
    "official names: vit_jax and big_vision train with the tanh GELU on pixels in [-1, 1]",
)


# Pattern of a model's name -> mean, std and reason; the first match counts. Meta's models use the
# values of PyTorch's examples, Google's and timm's own `vit_*` the halves of TensorFlow's.
_BY_NAME = (
    (
        "deit|dino|mae|moco|ibot|msn",
        *_IMAGENET,
        "DeiT, DINO, MAE or the like by its name: ImageNet's mean and std",
    ),
    ("miil", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "MIIL's ViT by its name: pixels in [0, 1]"),
    (
        "augreg|21k|jx_vit|(?<![a-z])g?sam(?![a-z])",
        *(_HALVES, _HALVES),
        "Google's ViT by its name: pixels in [-1, 1]",
    ),
    (
        r"(?<![a-z])vit[_-][a-z]+[_-]patch\d",
        *(_HALVES, _HALVES),
        "named as timm's and Google's ViTs: pixels in [-1, 1] assumed",
    ),
)


def npz_origin(file_name: str, *, big_vision: bool) -> Origin:
    """Returns the origin of an npz, judged by its name and by the names of its arrays.

    Args:
      file_name: name of the file.
      big_vision: whether the arrays have big_vision's names.
    """
    if "deit" not in file_name.lower():
        return OFFICIAL
    return DEIT_IN_BIG_VISION if big_vision else DEIT


def converted_origin(file_name: str, naming: Naming, sidecar: SidecarConfig) -> Origin:
    """Returns the origin of a state dict: by its configuration, else by its name.

    ViTs in PyTorch compute the exact GELU.
    """
    gelu = sidecar.gelu or "exact"
    known_as = f"{file_name} {sidecar.architecture or ''}".lower()
    if sidecar.mean and sidecar.std:
        return Origin(
            gelu, sidecar.mean, sidecar.std, f"{sidecar.architecture}, by its configuration"
        )
    for pattern, mean, std, reason in _BY_NAME:
        if re.search(pattern, known_as):
            return Origin(gelu, mean, std, reason)
    if sidecar.architecture == "vit":  # Hugging Face's name for Google's and DINO's, named above
        return Origin(
            gelu, _HALVES, _HALVES, "a ViT by its configuration: pixels in [-1, 1] assumed"
        )
    return Origin(gelu, *_IMAGENET, f"{naming.family}; pixel values not told: ImageNet's assumed")


def as_text(origin: Origin) -> str:
    """Returns an origin as text that `from_text` reads."""
    return json.dumps(origin._asdict())


def from_text(text: bytes) -> Origin | None:
    """Returns the origin that a converted file records, None for any other text.

    Raises:
      ValueError: the record's values cannot be used.
    """
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.keys() | {"size"} != set(Origin._fields):
        return None
    mean, std = (triple(record[key], key) for key in ("mean", "std"))
    gelu = record["gelu"]
    size = record.get("size")
    sized = size is None or (type(size) is int and 0 < size <= _MAX_SIZE)
    if gelu not in ("exact", "tanh") or mean is None or std is None or not sized:
        raise ValueError(f"its record {text[:200]!r} cannot be used: write the file again")
    return Origin(gelu, mean, std, str(record["reason"]), size)


def disagreements(
    origin: Origin, *, gelu: str, mean: Sequence[float], std: Sequence[float]
) -> tuple[str, ...]:
    """Returns a line for each setting that differs from the origin's, none where all agree."""
    pairs = {
        "model.gelu": (gelu, origin.gelu),
        "data.mean": (tuple(mean), origin.mean),
        "data.std": (tuple(std), origin.std),
    }
    return tuple(
        f"{key} is {_text(value)}: set --config.{key}={_text(trained)} unless the file comes from "
        f"elsewhere ({origin.reason})"
        for key, (value, trained) in pairs.items()
        if value != trained
    )


def _text(value: str | tuple[float, ...]) -> str:
    return value if isinstance(value, str) else f"'({','.join(map(str, value))})'"
