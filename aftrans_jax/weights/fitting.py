"""Fits the arrays of a ViT to a model's parameters, strictly; resizes positions and patches.

The model's modules have the official names. So fitting is: compare names and shapes, leave out the
head, read, resize the position embedding, unflatten.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import scipy.ndimage
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float

from aftrans_jax.model.variants import Variant
from aftrans_jax.weights.arrays import AnyArrays, Arrays, misfits, to_float32
from aftrans_jax.weights.layouts import POSITIONS, REGISTERS
from aftrans_jax.weights.npz import Params

HEAD = ("head/kernel", "head/bias")
_PARTS = MappingProxyType({"local": "local tokens", "sacm": "SACM"})


class Pretrained(NamedTuple):
    """A trunk's parameters, nested, and one line for each change made to fit them.

    `positions` is the position embedding as in the file.
    """

    params: dict[str, Any]
    notes: tuple[str, ...]
    positions: Float[np.ndarray, "1 tokens hidden"]


def sizes(arrays: AnyArrays) -> Variant | None:
    """Returns the sizes of the ViT that the arrays are of, None where they do not show them."""
    block = "Transformer/encoderblock_0"
    query = f"{block}/MultiHeadDotProductAttention_1/query/kernel"
    names = ("embedding/kernel", f"{block}/MlpBlock_3/Dense_0/kernel", query)
    shapes = [arrays[name].shape for name in names if name in arrays]
    if list(map(len, shapes)) != [4, 2, 3] or not all(map(all, shapes)):
        return None
    embedding, mlp, query_shape = shapes
    if query_shape[1] > embedding[3]:  # more heads than channels
        return None
    blocks = (re.match(r"Transformer/encoderblock_(\d+)/", name) for name in arrays)
    layers = len({match[1] for match in blocks if match})
    registers = arrays[REGISTERS].shape if REGISTERS in arrays else (1, 0, 0)
    count = registers[1] if len(registers) == 3 else 0
    return Variant(embedding[0], embedding[3], mlp[1], layers, query_shape[1], count)


def trained_size(arrays: AnyArrays) -> int | None:
    """Returns the side in px of the images that the file was trained on, None where unknown."""
    variant = sizes(arrays)
    positions = arrays.get(POSITIONS)
    if variant is None or positions is None or len(positions.shape) != 3 or positions.shape[1] < 2:
        return None
    return round((positions.shape[1] - 1) ** 0.5) * variant.patch_size


def fit_to_model(arrays: AnyArrays, expected: Params, *, keep_head: bool) -> Pretrained:
    """Returns the arrays as parameters of a model, which may be given by shapes only.

    The position embedding is resized and `pre_logits` is dropped, each with a note. Arrays are read
    once all names and shapes agree.

    Args:
      arrays: arrays by official name; not changed.
      expected: the trunk's parameters, nested; leaves have a `shape`.
      keep_head: whether to use the file's head; otherwise it is left out, whatever its classes, so
        that the caller keeps its own.

    Raises:
      ValueError: names or shapes do not agree, all of them listed; the head is to be kept and has
        another number of classes; or see `arrays.to_float32`.

    Follows: vit_jax checkpoint.load_pretrained.
    """
    leaves: dict[str, Any] = flatten_dict(expected, sep="/")
    wanted = {name: leaf.shape for name, leaf in leaves.items()}
    arrays = dict(arrays)
    notes = []
    dropped = sorted(name for name in arrays if name.startswith("pre_logits/"))
    for name in dropped:
        del arrays[name]
    if dropped and keep_head:
        raise ValueError(
            "pretrained_head='keep': the file's head follows a layer pre_logits, which this model "
            "has not: expected a head on the class token. Use --config.pretrained_head=new"
        )
    if dropped:
        notes.append("dropped pre_logits: the head follows the class token directly")
    note = _head_note(arrays, wanted["head/bias"][0], keep_head)
    if not keep_head:
        notes.append(note)
        for name in HEAD:
            arrays.pop(name, None)
            del wanted[name]
    positions_shape = wanted[POSITIONS]
    num_tokens = wanted[POSITIONS][1]
    old_shape = arrays[POSITIONS].shape if POSITIONS in arrays else ()
    resizable = len(old_shape) == 3 and (old_shape[0], old_shape[2]) == positions_shape[::2]
    shapes = {name: array.shape for name, array in arrays.items()}
    if odd := misfits(shapes, {**wanted, POSITIONS: old_shape} if resizable else wanted):
        raise ValueError(
            f"the file does not fit the model; {odd}. Check model.variant against the file"
        )
    # Before resizing: scipy does not interpolate float16.
    params = to_float32(arrays)
    positions = params[POSITIONS]
    if old_shape != positions_shape:
        params[POSITIONS] = resize_positions(positions, num_tokens)
        notes.append(f"position embedding resized from {old_shape} to {positions_shape}")
    return Pretrained(unflatten_dict(params, sep="/"), tuple(notes), positions)


def fit_beside(
    beside: AnyArrays, expected: Params, unsuited: Mapping[str, str]
) -> tuple[Arrays, tuple[str, ...]]:
    """Returns those arrays beside the trunk of a whole model that fit another model, and notes.

    Position embeddings are resized. A part is taken in full, or not at all.

    Args:
      beside: arrays by name, such as "local/cls"; not changed.
      expected: parameters of the other model, nested; leaves have a `shape`.
      unsuited: why a part is not to be taken although it may fit, by its name, such as "sacm".

    Raises:
      ValueError: see `arrays.to_float32` and `resize_positions`.
    """
    leaves: dict[str, Any] = flatten_dict(expected, sep="/")
    fitting: Arrays = {}
    taken = ["trunk"]
    left = []
    notes = []
    for part, words in _PARTS.items():
        own, wanted = (
            {name: x.shape for name, x in tree.items() if name.startswith(f"{part}/")}
            for tree in (beside, leaves)
        )
        positions = f"{part}/pos_embedding"
        old = own.get(positions, ())
        new = wanted.get(positions, ())
        if len(old) == len(new) == 3 and old[::2] == new[::2]:
            wanted[positions] = old
        if own and own == wanted and part not in unsuited:
            taken.append(words)
            fitting |= to_float32({name: beside[name] for name in own})
            if old != new:
                fitting[positions] = resize_positions(fitting[positions], new[1])
                notes.append(f"positions of the {words} resized from {old} to {new}")
        elif own:
            odd = unsuited.get(part) or misfits(own, wanted)
            left.append(f"not taken: {words} ({odd if wanted else 'this model has none'})")
        elif wanted:
            left.append(f"not taken: {words} (the file has none)")
    return fitting, (f"taken from a whole model: {', '.join(taken)}", *left, *notes)


def _head_note(arrays: AnyArrays, num_classes: int, keep_head: bool) -> str:
    """Returns a note on a new head; raises ValueError where one is to be kept and cannot be."""
    bias = arrays.get("head/bias")
    head = "none" if bias is None else f"one for {bias.shape[0] if bias.shape else 1}"
    if keep_head and head != f"one for {num_classes}":
        raise ValueError(
            f"pretrained_head='keep': the data has {num_classes} classes, the file's head is "
            f"{head}: expected the same number. Use --config.pretrained_head=new"
        )
    kept = "; pretrained_head=keep would keep it" if head == f"one for {num_classes}" else ""
    return f"new head for {num_classes} classes (the file has {head}{kept})"


def resize_positions(
    positions: Float[np.ndarray, "1 old hidden"], num_tokens: int
) -> Float[np.ndarray, "1 new hidden"]:
    """Returns the position embedding on another square grid, with the class token's entry kept.

    `jax.image.resize` gives other values: it does not align corners.

    Raises:
      ValueError: either number of tokens is not a square plus one.

    Follows: vit_jax checkpoint.interpolate_posembed, but for its last row and column of zeros where
      the last coordinate is rounded beyond the grid, as from 24 to 22 or from 28 to 14.

    Choice: position embeddings are resized linearly, corners aligned; the paper is silent.
    """
    counts = (positions.shape[1], num_tokens)
    old, new = (round(max(0, count - 1) ** 0.5) for count in counts)
    if 0 in (old, new) or (old**2 + 1, new**2 + 1) != counts:
        raise ValueError(
            f"position embedding of {positions.shape[1]} tokens cannot become {num_tokens}: "
            "both must be a square grid of patches and one class token"
        )
    cls = positions[:, :1]
    grid = positions[0, 1:].reshape(old, old, -1)
    factors = (new / old, new / old, 1)
    grid = np.asarray(scipy.ndimage.zoom(grid, factors, order=1, mode="nearest"))
    return np.concatenate([cls, grid.reshape(1, new * new, -1)], axis=1)


def resize_kernel(
    kernel: Float[np.ndarray, "old old channels hidden"], patch_size: int
) -> Float[np.ndarray, "new new channels hidden"]:
    """Returns a patch embedding's kernel for patches of another size, in float32.

    Where patches grow, the product with a bilinearly resized patch equals the old kernel's product
    with the patch itself; where they shrink, it is the closest to that in the mean over pixels of
    white noise.

    Args:
      kernel: kernel of the patch embedding, not changed.
      patch_size: side of the new patches in px, at least 1.

    This is the pseudo-inverse resize of FlexiViT (Beyer et al., CVPR 2023, section 3.4).

    Follows: big_vision models/proj/flexi/vit.py resample_patchemb.
    """
    # The matrix that resizes a patch is the Kronecker product of the matrix for rows and columns
    # with itself, and the same is true of the pseudo-inverses.
    side = np.linalg.pinv(_resize_matrix(kernel.shape[0], patch_size).T)
    return np.einsum("ai,bj,ijch->abch", side, side, kernel.astype(np.float64)).astype(np.float32)


def _resize_matrix(old: int, new: int) -> Float[np.ndarray, "new old"]:
    """Returns the matrix of linear resizing, centres of pixels aligned, without antialiasing."""
    positions = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.maximum(0.0, 1.0 - np.abs(positions[:, None] - np.arange(old)))
