"""Configurations beside a file of weights: config.json and preprocessor_config.json.

timm writes a `pretrained_cfg` into the first; Hugging Face has the sizes there and the pixel values
in the second.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

_MAX_BYTES = 16_000_000  # names of 20,000 classes and their numbers take two million
_GELUS = MappingProxyType(
    {"gelu": "exact", "gelu_python": "exact"}
    | dict.fromkeys(("gelu_new", "gelu_fast", "gelu_pytorch_tanh"), "tanh")
)
_EPSILON = 1e-6  # epsilon of this trunk's layer norms
_TIMM_GELUS = MappingProxyType({"gelu": "exact", "gelu_tanh": "tanh"})
# Pattern of a model's name -> what its arrays do not show.
_FOREIGN = MappingProxyType(
    {
        r"(?<![a-z])rope(?![a-z])": "rotary positions (RoPE)",
        r"quick_?gelu": "a GELU that is neither exact nor by tanh",
    }
)


class ModelSize(NamedTuple):
    """Width and number of layers of the model in a file."""

    hidden: int
    layers: int


class SidecarConfig(NamedTuple):
    """What the files beside a model's weights say of it; None for what they do not.

    Attributes:
      architecture: name of the model.
      heads: number of attention heads.
      gelu: "exact" or "tanh".
      mean, std: mean and standard deviation of pixel values in [0, 1].
      notes: whether the configuration is used, and a line for each difference of this trunk from
        it.
    """

    architecture: str | None = None
    heads: int | None = None
    gelu: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    notes: tuple[str, ...] = ()


def sidecar_config(path: Path, size: ModelSize | None) -> SidecarConfig:
    """Returns what the files beside weights say, nothing where they are of another model.

    Args:
      path: path of the file of weights.
      size: size of its model, None where unknown.

    Raises:
      ValueError: a file is no JSON, or has values of another kind, or the model computes another
        function.
    """
    config = read_sidecar(path.with_name("config.json"))
    timm = is_timm(config)
    if not timm and not isinstance(config.get("model_type"), str):
        note = "config.json beside it passed over, it is neither timm's nor Hugging Face's"
        return SidecarConfig(notes=(note,) if config else ())
    if size is not None and (other := _other_size(config, size)):
        return SidecarConfig(
            notes=(f"config.json beside it passed over, it is another model's: {other}",)
        )
    pixels = read_sidecar(path.with_name("preprocessor_config.json")) if not timm else {}
    known = _by_timm(config) if timm else _by_hugging_face(config, pixels)
    heads = f", {known.heads} heads" if known.heads else ""
    source = f"told by config.json: {known.architecture}{heads}"
    return known._replace(notes=(source, *known.notes))


def check_model_name(name: str, remedy: str = "") -> None:
    """Checks that a model's name does not reveal another function, which arrays may not show.

    Args:
      name: name of the model, or of its file.
      remedy: advice for a wrong name, in words.

    Raises:
      ValueError: it reveals one; the message says which.
    """
    for pattern, what in _FOREIGN.items():
        if re.search(pattern, name.lower()):
            raise ValueError(
                f"the model of this file, {name}, has {what}: expected a plain ViT{remedy}"
            )


def is_timm(config: Mapping[str, Any]) -> bool:
    """Returns whether a configuration is timm's, which has the pixel values, too.

    Older ones have them beside the architecture, not in a `pretrained_cfg`.
    """
    if isinstance(config.get("pretrained_cfg"), dict):
        return True
    own = ("mean", "std", "model_args", "num_features")
    return isinstance(config.get("architecture"), str) and any(key in config for key in own)


def _other_size(config: Mapping[str, Any], size: ModelSize) -> str:
    """Returns how a configuration's size differs, empty where it has no size or the same."""
    width = "num_features" if is_timm(config) else "hidden_size"
    kinds = {width: size.hidden, "num_hidden_layers": size.layers}
    differing = [key for key, value in kinds.items() if config.get(key) not in (None, value)]
    return ", ".join(f"{key}={config[key]!r:.20}, the file has {kinds[key]}" for key in differing)


def _by_timm(config: dict[str, Any]) -> SidecarConfig:
    name = str(config.get("architecture"))
    pixels = config.get("pretrained_cfg") or config
    check_model_name(name)
    if config.get("global_pool", "token") not in ("token", ""):
        raise ValueError(
            f"the model of this file, {name}, pools by {config['global_pool']}, where this model "
            "classifies from the class token"
        )
    arguments = config.get("model_args")
    arguments = arguments if isinstance(arguments, dict) else {}
    act = arguments.get("act_layer")
    gelu = _gelu(name, "act_layer", "gelu" if act is None else act, _TIMM_GELUS)
    heads = _heads(arguments.get("num_heads"), "num_heads")
    mean, std = (triple(pixels.get(key), key) for key in ("mean", "std"))
    return SidecarConfig(name, heads, gelu, mean, std)


def _by_hugging_face(config: dict[str, Any], pixels: dict[str, Any]) -> SidecarConfig:
    kind = config["model_type"]
    gelu = _gelu(kind, "hidden_act", config.get("hidden_act", "gelu"), _GELUS)
    heads = _heads(config.get("num_attention_heads"), "num_attention_heads")
    mean, std = (triple(pixels.get(f"image_{key}"), f"image_{key}") for key in ("mean", "std"))
    if pixels.get("do_normalize") is False:
        mean = (0.0, 0.0, 0.0)
        std = (1.0, 1.0, 1.0)
    epsilon = config.get("layer_norm_eps", _EPSILON)
    notes = (
        ()
        if epsilon == _EPSILON
        else (f"LayerNorm's epsilon is 1e-6, the file's model had {epsilon!r:.9}",)
    )
    return SidecarConfig(kind, heads, gelu, mean, std, notes)


def read_sidecar(path: Path) -> dict[str, Any]:
    """Returns the object in a JSON file, an empty one where there is no file.

    Raises:
      ValueError: the file is no JSON, or too large; the message has its path.
    """
    if not path.is_file():
        return {}
    if (size := path.stat().st_size) > _MAX_BYTES:
        raise ValueError(
            f"{path} beside the weights has {size:,} bytes, expected at most {_MAX_BYTES:,}: move "
            "the weights to a folder without it"
        )
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        # The hub's library keeps links to its files, and would make a deleted link again.
        raise ValueError(
            f"{path.name} beside it is no JSON ({error!s:.80}): delete {path.resolve()} and start "
            "again, or put a whole one there"
        ) from error
    return content if isinstance(content, dict) else {}


def _gelu(name: str, key: str, value: Any, known: Mapping[str, str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise ValueError(
            f"the model of this file, {name}, has {key}={value!r:.40}: expected one of "
            f"{', '.join(known)}"
        )
    return known[value]


def _heads(value: Any, key: str) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 0 < value < 1000:
        raise ValueError(f"config.json beside it has {key}={value!r:.40}: expected a count")
    return value


def triple(value: Any, key: str) -> tuple[float, ...] | None:
    """Returns one value for each channel, None where there is none.

    Raises:
      ValueError: it is not that; values called std must be above 0.
    """
    if value is None:
        return None
    numbers = value if isinstance(value, list) else []
    fits = len(numbers) == 3 and all(type(x) in (int, float) and math.isfinite(x) for x in numbers)
    if not fits or (re.search("std", key) and min(numbers) <= 0):
        raise ValueError(
            f"the configuration beside it has {key}={value!r:.60}: expected three numbers"
        )
    return tuple(float(x) for x in numbers)
