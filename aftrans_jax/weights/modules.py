"""Converts the modules of a state dict to the official arrays of a ViT, which are read lazily."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from aftrans_jax.weights.arrays import AnyArrays, StoredArray, is_float
from aftrans_jax.weights.foreign_names import Naming

AnyArray = np.ndarray | StoredArray

_BLOCK = "Transformer/encoderblock_{}"
_ATTENTION = "MultiHeadDotProductAttention_1"


class RemainingArrays:
    """Arrays of a state dict that are yet to be converted; each is taken once.

    `arrays` are these by name.
    """

    def __init__(self, arrays: AnyArrays) -> None:
        self.arrays = dict(arrays)
        self._without: Counter[str] = Counter()  # kinds of modules without a bias
        self.scaled = 0  # layers with LayerScale

    def has(self, name: str) -> bool:
        """Returns whether there is such an array that was not taken."""
        return name in self.arrays

    def take(self, name: str, *shape: int) -> AnyArray:
        """Takes an array away and returns it; a length of -1 in `shape` stands for any.

        Raises:
          ValueError: it is absent or of another shape.
        """
        if name not in self.arrays:
            raise ValueError(f"the file has no {name}, which a plain ViT needs")
        own = self.arrays[name].shape
        fits = len(own) == len(shape) and all(
            want in (-1, have) for have, want in zip(own, shape, strict=True)
        )
        if not fits:
            gated = "fc2" in name and len(own) == len(shape) == 2 and 2 * own[1] == shape[1]
            why = ": its MLP is gated (SwiGLU), which this trunk's is not" if gated else ""
            raise ValueError(f"{name} has the shape {own}, expected {_text(shape)}{why}")
        return self.arrays.pop(name)

    def bias(self, module: str, length: int, kind: str) -> AnyArray:
        """Takes a module's bias, or returns zeros where it has none.

        Args:
          module: name of the module.
          length: length of its bias.
          kind: name of the module in notes, with {} for the number of a block.
        """
        if self.has(f"{module}.bias"):
            return self.take(f"{module}.bias", length)
        self._without[kind] += 1
        return np.zeros(length, np.float32)

    def notes(self, layers: int) -> list[str]:
        """Returns notes on absent biases and on LayerScale.

        Args:
          layers: number of the model's layers.

        Raises:
          ValueError: some layers have what others lack, so the file is incomplete.
        """
        counts = {
            f"{kind.format('N')}.bias": x for kind, x in self._without.items() if "{}" in kind
        }
        counts["LayerScale"] = layers - self.scaled
        for what, count in counts.items():
            if count not in (0, layers):
                raise ValueError(
                    f"{count} of {layers} layers have no {what}: the file is not whole, download "
                    "it again"
                )
        without = ", ".join(kind.format("N") for kind in self._without)
        notes = [f"zeros for the biases that it has not: {without}"] if without else []
        return notes + ["LayerScale folded into out and Dense_1"] * bool(self.scaled)


def derived(
    shape: Sequence[int], make: Callable[..., np.ndarray], *arrays: AnyArray
) -> StoredArray:
    """Returns an array of a shape that `make` computes from others when it is read.

    Its type is that of the first array, or of the first that has no floating-point numbers, so
    that it is refused.
    """
    odd = (array.dtype for array in arrays if not is_float(array.dtype))
    dtype = next(odd, arrays[0].dtype)
    return StoredArray(tuple(shape), dtype, lambda: make(*map(np.asarray, arrays)))


def dense(
    remaining: RemainingArrays, module: str, official: str, num_in: int, num_out: int
) -> dict[str, AnyArray]:
    """Returns a linear layer; -1 for `num_out` takes its own number of outputs."""
    weight = remaining.take(f"{module}.weight", num_out, num_in)
    kernel = derived(weight.shape[::-1], np.transpose, weight)
    bias = remaining.bias(module, weight.shape[0], module)
    return {f"{official}/kernel": kernel, f"{official}/bias": bias}


def norm(
    remaining: RemainingArrays, module: str, official: str, hidden: int
) -> dict[str, AnyArray]:
    """Returns a LayerNorm."""
    return {
        f"{official}/scale": remaining.take(f"{module}.weight", hidden),
        f"{official}/bias": remaining.take(f"{module}.bias", hidden),
    }


def block(
    remaining: RemainingArrays, naming: Naming, layer: int, hidden: int, heads: int
) -> dict[str, AnyArray]:
    """Returns a block's arrays, with LayerScale folded into the last linear layer of each branch.

    A residual branch ends in `scale * (x @ kernel + bias)`, which is `x @ (kernel * scale) +
    bias * scale`.
    """
    official = _BLOCK.format(layer)
    named = norm(remaining, naming.norm1.format(layer), f"{official}/LayerNorm_0", hidden)
    named |= norm(remaining, naming.norm2.format(layer), f"{official}/LayerNorm_2", hidden)
    named |= _queries(remaining, naming, layer, hidden, heads)
    scales = next((x for x in naming.scales if remaining.has(x[0].format(layer))), None)
    of_attention, of_mlp = (
        None if scales is None else remaining.take(name.format(layer), hidden)
        for name in (scales or ("", ""))
    )
    remaining.scaled += scales is not None
    out = f"{official}/{_ATTENTION}/out"
    split = (heads, hidden // heads, hidden)
    named |= _folded(remaining, naming.out, layer, out, hidden, split, of_attention)
    first = f"{official}/MlpBlock_3/Dense_0"
    mlp = f"{official}/MlpBlock_3/Dense_1"
    module = naming.fc1.format(layer)
    weight = remaining.take(f"{module}.weight", -1, hidden)
    width = weight.shape[0]
    named[f"{first}/kernel"] = derived((hidden, width), np.transpose, weight)
    named[f"{first}/bias"] = remaining.bias(module, width, naming.fc1)
    return named | _folded(remaining, naming.fc2, layer, mlp, width, (width, hidden), of_mlp)


def _queries(
    remaining: RemainingArrays, naming: Naming, layer: int, hidden: int, heads: int
) -> dict[str, AnyArray]:
    """Returns the kernels and biases of queries, keys and values, from one module or three."""
    modules = [name.format(layer) for name in naming.qkv]
    rows = 3 * hidden // len(modules)
    weights = [remaining.take(f"{module}.weight", rows, hidden) for module in modules]
    kinds = zip(modules, naming.qkv, strict=True)
    biases = [remaining.bias(module, rows, kind) for module, kind in kinds]
    split = (heads, hidden // heads)
    named = {}
    for i, name in enumerate(("query", "key", "value")):
        at, start = (0, i * hidden) if len(modules) == 1 else (i, 0)
        own = slice(start, start + hidden)
        official = f"{_BLOCK.format(layer)}/{_ATTENTION}/{name}"
        kernel = partial(_rows_turned, own=own, shape=(hidden, *split))
        named[f"{official}/kernel"] = derived((hidden, *split), kernel, weights[at])
        bias = partial(_rows, own=own, shape=split)
        named[f"{official}/bias"] = derived(split, bias, biases[at])
    return named


def _folded(
    remaining: RemainingArrays,
    template: str,
    layer: int,
    official: str,
    num_in: int,
    shape: tuple[int, ...],
    scale: AnyArray | None,
) -> dict[str, AnyArray]:
    """Returns a linear layer whose outputs are scaled, with its kernel in the official shape."""
    module = template.format(layer)
    hidden = shape[-1]
    weight = remaining.take(f"{module}.weight", hidden, num_in)
    bias = remaining.bias(module, hidden, template)
    scales = () if scale is None else (scale,)
    return {
        f"{official}/kernel": derived(shape, partial(_turned, shape=shape), weight, *scales),
        f"{official}/bias": derived((hidden,), _scaled, bias, *scales),
    }


def _rows(x: np.ndarray, *, own: slice, shape: tuple[int, ...]) -> np.ndarray:
    return x[own].reshape(shape)


def _rows_turned(x: np.ndarray, *, own: slice, shape: tuple[int, ...]) -> np.ndarray:
    return x[own].T.reshape(shape)


def _turned(x: np.ndarray, *scale: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return _scaled(x.T, *scale).reshape(shape)


def _scaled(x: np.ndarray, *scale: np.ndarray) -> np.ndarray:
    # In float64, so that the product is rounded only once.
    return x.astype(np.float64) * scale[0] if scale else x


def _text(shape: Sequence[int]) -> str:
    return f"({', '.join('any' if length == -1 else str(length) for length in shape)})"
