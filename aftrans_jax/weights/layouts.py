"""From other names of the same arrays to the official names.

Understood are the official names below a prefix, as in checkpoints of full trainings, and
big_vision's names, also with all blocks stacked by `nn.scan`, where the function is the same.
PyTorch's names are read by `state_dicts`.
"""

import functools
import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from aftrans_jax.weights.arrays import AnyArrays, StoredArray, check_names

POSITIONS = "Transformer/posembed_input/pos_embedding"
REGISTERS = "registers"
BFLOAT16 = "bfloat16 read as float32"  # a note

_PREFIXES = ("params/", "opt/target/", "optimizer/target/", "model/params/", "model/")
# Arrays beside a prefix: the optimizer's moments, counters and random state.
_STATE = ("opt/", "opt_state/", "optimizer/", "state/", "extra/", "step", "rng")
_BIG_VISION = MappingProxyType(
    {
        "MultiHeadDotProductAttention_0": "MultiHeadDotProductAttention_1",
        "LayerNorm_1": "LayerNorm_2",
        "MlpBlock_0": "MlpBlock_3",
    }
)
_BLOCK = re.compile(r"(Transformer/encoderblock_\d+)/([^/]+)(/.+)")
_STACK = "Transformer/encoderblock/"
MAX_LAYERS = 256

# Names that reveal models of another function.
_FOREIGN: Mapping[str, str] = MappingProxyType(
    {
        r"(^|/)(MAPHead_0/|probe$)": "pools by an attention head (MAPHead_0), where this model "
        "classifies from the class token",
        r"(^|/)MixerBlock_0/": "is an MLP-Mixer",
        r"(^|/)(conv_root|block1/unit1)/": "begins with a ResNet (the hybrid R50+ViT)",
        r"(^|[./])blocks[./]0[./]": "has names like timm's, but not those of its plain ViT",
        r"(^|[./])encoder[./]layers?[./](encoder_layer_)?0[./]": (
            "has names like those of Hugging Face, torchvision or TransFG in PyTorch, but not "
            "those of Hugging Face's ViT, DeiT or DINOv2"
        ),
    }
)


class OfficialArrays(NamedTuple):
    """Arrays by official name, a line for each change of names, and whose names the file has."""

    arrays: dict[str, np.ndarray | StoredArray]
    notes: tuple[str, ...]
    big_vision: bool


def official_names(arrays: AnyArrays) -> OfficialArrays:
    """Returns the arrays under the official names; unknown names are kept.

    Raises:
      ValueError: the arrays are of a model that computes another function.

    Follows: big_vision models/vit.py fix_old_checkpoints, in reverse.
    """
    named, notes = _without_prefix(arrays)
    check_names(
        named, _FOREIGN, "a plain ViT with a class token, such as the official ViT-B_16.npz"
    )
    stacked = any(name.startswith(_STACK) for name in named)
    if stacked:
        named = _unstacked(named)
        notes.append("blocks unstacked: the file has all layers in one array")
    named, renamed = _renamed(named)
    big_vision = stacked or renamed or "pos_embedding" in named
    if big_vision:
        named = _with_class_position(named)
        notes.append("big_vision's names read as the official ones")
        if "cls" not in named:
            raise ValueError(
                "the model of this file has no class token (big_vision's pooling 'gap'), from "
                "which this model classifies: expected an array cls"
            )
    if any(array.dtype.kind == "V" for array in named.values()):
        notes.append(BFLOAT16)
    return OfficialArrays(named, tuple(notes), big_vision)


def _without_prefix(arrays: AnyArrays) -> tuple[dict[str, np.ndarray | StoredArray], list[str]]:
    for prefix in _PREFIXES:
        if any(name.startswith(f"{prefix}Transformer/") for name in arrays):
            break
    else:
        return dict(arrays), []
    below = {name: array for name, array in arrays.items() if name.startswith(prefix)}
    state = [name for name in arrays if name not in below and name.startswith(_STATE)]
    named = {
        name.removeprefix(prefix): array for name, array in arrays.items() if name not in state
    }
    notes = [f"arrays read from below {prefix}"]
    if state:
        notes.append(f"left out {len(state)} arrays of the training's state, such as {state[0]}")
    return named, notes


def _unstacked(arrays: AnyArrays) -> dict[str, np.ndarray | StoredArray]:
    lengths = {
        name: array.shape[0] if array.shape else 0
        for name, array in arrays.items()
        if name.startswith(_STACK)
    }
    layers = set(lengths.values())
    if len(layers) != 1 or not 0 < max(layers) <= MAX_LAYERS:
        raise ValueError(
            f"the stacked blocks below {_STACK} have first axes of {sorted(layers)}: expected the "
            f"number of layers, 1 to {MAX_LAYERS}, in all"
        )
    named = {name: array for name, array in arrays.items() if name not in lengths}
    for name in lengths:
        whole = functools.cache(functools.partial(np.asarray, arrays[name]))
        shape = arrays[name].shape[1:]
        dtype = arrays[name].dtype
        for layer in range(max(layers)):
            part = name.replace(_STACK, f"Transformer/encoderblock_{layer}/", 1)
            named[part] = StoredArray(shape, dtype, functools.partial(_layer, whole, layer))
    return named


def _layer(whole: Callable[[], np.ndarray], layer: int) -> np.ndarray:
    return whole()[layer]


def _renamed(arrays: AnyArrays) -> tuple[dict[str, np.ndarray | StoredArray], bool]:
    """Returns the arrays with big_vision's modules renamed, and whether there were any."""
    named = {}
    for name, array in arrays.items():
        match = _BLOCK.fullmatch(name)
        module = _BIG_VISION.get(match[2]) if match else None
        new = f"{match[1]}/{module}{match[3]}" if match and module else name
        named[name if new in arrays else new] = array  # both: one is surplus and refused later
    return named, named.keys() != arrays.keys()


def _with_class_position(arrays: AnyArrays) -> dict[str, np.ndarray | StoredArray]:
    """Returns the arrays with position embeddings in the official form.

    big_vision adds positions to the patches alone, then prepends the class token; in the official
    form, the class token's position is zero.
    """
    named = dict(arrays)
    for old in ("pos_embedding", "Transformer/pos_embedding"):
        if old in named and POSITIONS not in named:
            named[POSITIONS] = named.pop(old)
    positions = named.get(POSITIONS)
    if positions is None or len(positions.shape) != 3:
        return named
    batch, tokens, hidden = positions.shape
    if math.isqrt(tokens) ** 2 == tokens:
        read = functools.partial(_with_zero_row, positions)
        named[POSITIONS] = StoredArray((batch, tokens + 1, hidden), positions.dtype, read)
    return named


def _with_zero_row(positions: np.ndarray | StoredArray) -> np.ndarray:
    return np.pad(np.asarray(positions), ((0, 0), (1, 0), (0, 0)))
