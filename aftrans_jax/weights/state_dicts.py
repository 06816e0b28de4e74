"""State dicts of timm, Meta and Hugging Face -> the official names and layouts.

Each array of a known naming is checked for its shape and converted to official arrays, which are
read lazily. Other arrays are refused, unless they do not affect the class token's features.
"""

import math
import re
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from aftrans_jax.weights.arrays import CONVERT, AnyArrays, listed
from aftrans_jax.weights.foreign_names import NAMINGS, Naming, check_function
from aftrans_jax.weights.layouts import BFLOAT16, MAX_LAYERS, POSITIONS, REGISTERS
from aftrans_jax.weights.modules import AnyArray, RemainingArrays, block, dense, derived, norm
from aftrans_jax.weights.sidecar_files import ModelSize

_HEAD_DIM = 64  # of all plain ViTs except those of these widths
_HEADS = MappingProxyType({1280: 16})  # ViT-H
_CHUNKED = re.compile(r"(^|[./])blocks\.\d+\.(\d+\.(?:norm|attn|mlp|ls|gamma))")
# Of two models in a file, the one to use: the averaged one, or the one that MoCo v3 evaluates.
_PREFERRED = re.compile("(?<![a-z])(teacher|ema|base_encoder)(?![a-z])")
_MOCO = re.compile("(?<![a-z])(base|momentum)_encoder[./]$")
_MOCO_HEADS = MappingProxyType({384: 12})  # where other models have 6
_UNNAMED = re.compile(r"(^|[./])module[./]$")  # in MoCo v3's linear probes, and in other models


class ConvertedArrays(NamedTuple):
    """Arrays by official name, a line for each change made to them, and the file's naming."""

    arrays: dict[str, AnyArray]
    notes: tuple[str, ...]
    naming: Naming


def from_state_dict(arrays: AnyArrays, *, heads: int | None) -> ConvertedArrays | None:
    """Returns a state dict under the official names; None where its naming is unknown.

    Args:
      arrays: arrays by name.
      heads: number of attention heads, which no array shows; None: of 64 channels each, ViT-H's
        of 80.

    Raises:
      ValueError: the model computes another function, or an array is missing, surplus or misshapen.
    """
    arrays = _unchunked(arrays)
    naming, prefix = _naming(arrays)
    if naming is None:
        check_function(arrays)
        return None
    notes = [f"{naming.family} read as the official ones"]
    remaining = RemainingArrays(_below(arrays, prefix, naming, notes))
    check_function(remaining.arrays)
    named, hidden = _tokens(remaining, naming, notes)
    heads_by_width = _MOCO_HEADS if _MOCO.search(prefix) else _HEADS
    if heads is None and hidden in _MOCO_HEADS and _UNNAMED.search(prefix):
        raise ValueError(
            f"{hidden} numbers below {prefix} are 6 heads of most models and 12 of MoCo v3's: "
            f"{CONVERT} --heads=6 --out=x.npz makes a file that tells"
        )
    if not hidden or hidden % (heads or _HEAD_DIM):
        problem = f"is no multiple of {heads} heads" if heads else "does not tell the heads"
        raise ValueError(
            f"a width of {hidden} {problem}: expected a multiple of {heads or _HEAD_DIM}. "
            f"{CONVERT} --heads=N --out=x.npz makes a file that tells"
        )
    num_heads = heads or heads_by_width.get(hidden, hidden // _HEAD_DIM)
    if heads is None:
        notes.append(
            f"{num_heads} heads of {hidden // num_heads} assumed: no array tells their number"
        )
    layers = 0
    while remaining.has(f"{naming.norm1.format(layers)}.weight"):
        if layers == MAX_LAYERS:
            raise ValueError(f"it has more than {MAX_LAYERS} layers: expected a plain ViT")
        named |= block(remaining, naming, layers, hidden, num_heads)
        layers += 1
    if any(remaining.has(f"{naming.norm1.format(n)}.weight") for n in range(layers, MAX_LAYERS)):
        raise ValueError(
            f"{naming.norm1.format(layers)}.weight is missing, and later layers are there: "
            "expected every layer. The file is not whole"
        )
    named |= norm(remaining, naming.norm, "Transformer/encoder_norm", hidden)
    named |= _head(remaining, naming, hidden, notes)
    notes += remaining.notes(layers)
    _check_left(remaining, naming, notes)
    notes += [BFLOAT16] * any(array.dtype.kind == "V" for array in named.values())
    return ConvertedArrays(named, tuple(notes), naming)


def size_of(arrays: AnyArrays) -> ModelSize | None:
    """Returns the size of the model in a state dict, None where its naming is unknown.

    Raises:
      ValueError: it has more than one model.
    """
    arrays = _unchunked(arrays)
    naming, prefix = _naming(arrays)
    if naming is None:
        return None
    hidden = (*arrays[f"{prefix}{naming.patches}.weight"].shape, 0)[0]
    layers = 0
    while layers < MAX_LAYERS and f"{prefix}{naming.norm1.format(layers)}.weight" in arrays:
        layers += 1
    return ModelSize(hidden, layers)


def _unchunked(arrays: AnyArrays) -> AnyArrays:
    return {_CHUNKED.sub(r"\1blocks.\2", name): array for name, array in arrays.items()}


def _naming(arrays: AnyArrays) -> tuple[Naming | None, str]:
    """Returns the naming of the arrays and the prefix of its names; None where it is unknown."""
    models = []
    for naming in NAMINGS:
        first = naming.norm1.format(0)
        last = f"{naming.patches}.weight"
        prefixes = [name.removesuffix(last) for name in arrays if name.endswith(last)]
        models += [(naming, x) for x in prefixes if f"{x}{first}.weight" in arrays]
    chosen = models
    if len(models) > 1:
        chosen = [(naming, prefix) for naming, prefix in models if _PREFERRED.search(prefix)]
        if len(chosen) == 1:
            return chosen[0]
        prefixes = ", ".join(repr(prefix) for _, prefix in models[:8])
        raise ValueError(
            f"it holds {len(models)} models, below {prefixes}: expected one, or one of them called "
            "teacher, ema or base_encoder. Save that one's state dict alone"
        )
    return chosen[0] if chosen else (None, "")


def _below(arrays: AnyArrays, prefix: str, naming: Naming, notes: list[str]) -> AnyArrays:
    """Returns the arrays below a prefix, without it, and Hugging Face's head beside it."""
    if not prefix:
        return arrays
    inside = {x.removeprefix(prefix): array for x, array in arrays.items() if x.startswith(prefix)}
    outer = re.sub(r"[^./]+[./]$", "", prefix)
    beside = {name for name in arrays if not name.startswith(prefix)}
    if naming.patches.startswith("embeddings."):
        for name in [f"{head}.{part}" for head in naming.heads for part in ("weight", "bias")]:
            if outer + name in beside:
                inside[name] = arrays[outer + name]
                beside.remove(outer + name)
    notes.append(f"arrays read from below {prefix}")
    if beside:
        notes.append(
            f"left out {len(beside)} of the file's arrays, beside {prefix}, such as {min(beside)}"
        )
    return inside


def _tokens(
    remaining: RemainingArrays, naming: Naming, notes: list[str]
) -> tuple[dict[str, AnyArray], int]:
    """Returns the arrays before the first block, and the width."""
    if not remaining.has(naming.cls):
        raise ValueError(
            f"the model of this file has no class token ({naming.cls}), from which this model "
            "classifies: expected a plain ViT that has one"
        )
    if not remaining.has(naming.positions):
        raise ValueError(
            f"the model of this file adds no positions to its tokens (no {naming.positions}): "
            "rotary or relative ones (DINOv3, BEiT) would have to be built into the attention"
        )
    cls = remaining.take(naming.cls, 1, 1, -1)
    hidden = cls.shape[2]
    kernel = remaining.take(f"{naming.patches}.weight", hidden, -1, -1, -1)
    shape = (*kernel.shape[2:], kernel.shape[1], hidden)
    named = {
        "cls": cls,
        "embedding/kernel": derived(shape, lambda x: x.transpose(2, 3, 1, 0), kernel),
        "embedding/bias": remaining.bias(naming.patches, hidden, naming.patches),
    }
    positions = remaining.take(naming.positions, 1, -1, hidden)
    extra = [x for x in (*naming.registers, naming.distillation) if remaining.has(x)]
    registers = remaining.take(extra[0], 1, -1, hidden) if extra else None
    return named | _positioned(positions, registers, hidden), hidden


def _positioned(
    positions: AnyArray, registers: AnyArray | None, hidden: int
) -> dict[str, AnyArray]:
    """Returns positions of class token and patches, and registers with their positions added.

    A file has positions of the patches alone, also of the class token, or of the registers, too.
    """
    length = positions.shape[1]
    count = 0 if registers is None else registers.shape[1]
    own = next((x for x in (1, 0, 1 + count) if math.isqrt(length - x) ** 2 == length - x), None)
    if own is None:
        raise ValueError(
            f"{length} positions are no square grid of patches, with or without those of a class "
            f"token and {count} registers"
        )
    patches = length - own

    def moved(x: np.ndarray) -> np.ndarray:
        first = x[:, :1] if own else np.zeros_like(x[:, :1])
        return np.concatenate([first, x[:, own:]], axis=1)

    named: dict[str, AnyArray] = {POSITIONS: derived((1, 1 + patches, hidden), moved, positions)}

    def placed(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return x.astype(np.float64) + y[:, 1:own] if own > 1 else x

    if registers is not None:
        named[REGISTERS] = derived((1, count, hidden), placed, registers, positions)
    return named


def _head(
    remaining: RemainingArrays, naming: Naming, hidden: int, notes: list[str]
) -> dict[str, AnyArray]:
    """Returns the head and the layer before it, where there are any."""
    named: dict[str, AnyArray] = {}
    if remaining.has("pre_logits.fc.weight"):
        named |= dense(remaining, "pre_logits.fc", "pre_logits", hidden, hidden)
    head = next((name for name in naming.heads if remaining.has(f"{name}.weight")), None)
    if head is None:
        return named
    weight = remaining.arrays[f"{head}.weight"]
    if len(weight.shape) == 2 and weight.shape[1] == 2 * hidden:
        for part in ("weight", "bias"):
            remaining.arrays.pop(f"{head}.{part}", None)
        notes.append(f"left out {head}, which reads the class token and the mean of the patches")
        return named
    return named | dense(remaining, head, "head", hidden, -1)


def _check_left(remaining: RemainingArrays, naming: Naming, notes: list[str]) -> None:
    """Notes remaining arrays that are not needed; raises ValueError for any others."""
    spare = [x for x in remaining.arrays if any(re.fullmatch(y, x) for y in naming.spare)]
    if other := sorted(remaining.arrays.keys() - set(spare)):
        raise ValueError(
            f"the file has what a plain ViT has not: {listed(other)}. It is another model, whose "
            "function this trunk does not compute"
        )
    if spare:
        notes.append(
            f"left out {len(spare)} of the file's arrays, on which the class token does not "
            f"depend, such as {min(spare)}"
        )
