"""How the models of known files were trained, where it has to agree with the configuration."""

from collections.abc import Sequence
from typing import NamedTuple

_HALVES = (0.5, 0.5, 0.5)


class Origin(NamedTuple):
    """GELU, mean and standard deviation of pixel values in [0, 1], and how they are known."""

    gelu: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    reason: str


DEIT = Origin(
    "exact",
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
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


def origin(file_name: str, *, big_vision: bool) -> Origin:
    """Returns where a readable file comes from, as far as its name and its arrays' names tell."""
    if "deit" not in file_name.lower():
        return OFFICIAL
    return DEIT_IN_BIG_VISION if big_vision else DEIT


def disagreements(
    known: Origin, *, gelu: str, mean: Sequence[float], std: Sequence[float]
) -> tuple[str, ...]:
    """Returns a line for each setting that is not the origin's, none where all agree."""
    pairs = {
        "model.gelu": (gelu, known.gelu),
        "data.mean": (tuple(mean), known.mean),
        "data.std": (tuple(std), known.std),
    }
    return tuple(
        f"{key} is {_text(value)}: set --config.{key}={_text(trained)} unless the file comes from "
        f"elsewhere ({known.reason})"
        for key, (value, trained) in pairs.items()
        if value != trained
    )


def _text(value: str | tuple[float, ...]) -> str:
    return value if isinstance(value, str) else f"'({','.join(map(str, value))})'"
