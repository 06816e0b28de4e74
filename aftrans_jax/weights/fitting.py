"""Arrays of a ViT npz -> parameters of a model, strictly.

The modules carry the official file's names, so fitting is: compare names and shapes, resize one
array, replace the head, unflatten.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.ndimage
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float

from aftrans_jax.weights.npz import Arrays, Params, listed

POSITIONS = "Transformer/posembed_input/pos_embedding"
HEAD = ("head/kernel", "head/bias")


class Pretrained(NamedTuple):
    """A trunk's parameters, nested, and one line for each thing that was changed to fit."""

    params: dict[str, Any]
    notes: tuple[str, ...]


def fit_to_model(arrays: Arrays, expected: Params) -> Pretrained:
    """Returns the arrays as parameters of the model whose (shapes of) parameters are `expected`.

    The position embedding is resized, a head for other classes is left out, so that the caller
    keeps its own, and `pre_logits` is dropped; each is noted.

    Args:
      arrays: by official name, as `read_npz` returns them; not changed.
      expected: the trunk's nested tree; leaves have a `shape`.

    Raises:
      ValueError: names or shapes do not agree, all of them listed.

    Follows: vit_jax checkpoint.load_pretrained.
    """
    leaves: dict[str, Any] = flatten_dict(expected, sep="/")
    wanted = {name: leaf.shape for name, leaf in leaves.items()}
    # First of all: scipy does not interpolate float16, and would round integers.
    arrays, notes = {name: np.asarray(array, np.float32) for name, array in arrays.items()}, []
    dropped = sorted(name for name in arrays if name.startswith("pre_logits/"))
    for name in dropped:
        del arrays[name]
    if dropped:
        notes.append("dropped pre_logits: the head follows the class token directly")
    if any(name not in arrays or arrays[name].shape != wanted[name] for name in HEAD):
        found = arrays["head/bias"].size if "head/bias" in arrays else "none"
        notes.append(f"new head for {wanted['head/bias'][0]} classes (the file has {found})")
        for name in HEAD:
            arrays.pop(name, None)
            del wanted[name]
    positions_shape, num_tokens = wanted[POSITIONS], wanted[POSITIONS][1]
    old_shape = arrays[POSITIONS].shape if POSITIONS in arrays else ()
    resizable = len(old_shape) == 3 and (old_shape[0], old_shape[2]) == positions_shape[::2]
    _check(arrays, {**wanted, POSITIONS: old_shape} if resizable else wanted)
    if old_shape != positions_shape:
        arrays[POSITIONS] = resize_positions(arrays[POSITIONS], num_tokens)
        notes.append(f"position embedding resized from {old_shape} to {positions_shape}")
    return Pretrained(unflatten_dict(arrays, sep="/"), tuple(notes))


def resize_positions(
    positions: Float[np.ndarray, "1 old hidden"], num_tokens: int
) -> Float[np.ndarray, "1 new hidden"]:
    """Returns the position embedding on another square grid, its class entry kept.

    `jax.image.resize` gives other values: it does not align corners.

    Raises:
      ValueError: either number of tokens is not a square plus one.

    Follows: vit_jax checkpoint.interpolate_posembed.

    Choice: position embeddings are resized linearly, corners aligned; the paper is silent.
    """
    old, new = (round((count - 1) ** 0.5) for count in (positions.shape[1], num_tokens))
    if old**2 + 1 != positions.shape[1] or new**2 + 1 != num_tokens:
        raise ValueError(
            f"position embedding of {positions.shape[1]} tokens cannot become {num_tokens}: "
            "both must be a square grid of patches and one class token"
        )
    cls, grid = positions[:, :1], positions[0, 1:].reshape(old, old, -1)
    grid = np.asarray(scipy.ndimage.zoom(grid, (new / old, new / old, 1), order=1))
    return np.concatenate([cls, grid.reshape(1, new * new, -1)], axis=1)


def _check(arrays: Arrays, wanted: dict[str, tuple[int, ...]]) -> None:
    """Raises one ValueError that lists every missing, surplus and mis-shaped array."""
    problems = {
        "missing": [name for name in wanted if name not in arrays],
        "not expected": [name for name in arrays if name not in wanted],
        "of another shape": [
            f"{name} {arrays[name].shape} instead of {shape}"
            for name, shape in wanted.items()
            if name in arrays and arrays[name].shape != shape
        ],
    }
    found = [f"{kind}: {listed(names)}" for kind, names in problems.items() if names]
    if found:
        raise ValueError(
            "the file does not fit the model; " + "; ".join(found) + ". "
            "Check model.variant against the file"
        )
