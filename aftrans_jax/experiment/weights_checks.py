"""Whether a file of weights suits the configured model, and what to do where it does not."""

from collections.abc import Mapping, Sequence

from aftrans_jax.model.variants import Variant
from aftrans_jax.weights.arrays import AnyArrays
from aftrans_jax.weights.fitting import sizes, trained_size


def local_size_doubts(local_size: int, arrays: AnyArrays) -> tuple[str, ...]:
    """Returns a line where the local branch reads at another size than the file was trained at."""
    trained = trained_size(arrays)
    if trained in (None, local_size):
        return ()
    return (
        f"data.local_size is {local_size}: the file was trained at {trained} px, at "
        f"which a crop gains most; set --config.data.local_size={trained}",
    )


def check_variant(name: str, arrays: AnyArrays, variants: Mapping[str, Variant]) -> None:
    """Passes a file of a variant, or one that does not tell its own.

    Raises:
      ValueError: it is of another, which is named.
    """
    found, variant = sizes(arrays), variants[name]
    if found is None or found == variant:
        return
    fitting = [f"--config.model.variant={known}" for known in variants if variants[known] == found]
    remedy = (
        f"use {' or '.join(fitting)}" if fitting else f"no variant has these: {', '.join(variants)}"
    )
    if found[1:] == variant[1:]:
        remedy += (
            f"; python -m aftrans_jax.convert IT --patch_size={variant.patch_size} --out=x.npz "
            "makes a file of the other patches"
        )
    text, own = map(_described, (found, variant))
    raise ValueError(f"the file has {text}, model.variant={name!r} has {own}; {remedy}")


def _described(size: Sequence[int]) -> str:
    """Returns the numbers of `weights.fitting.Sizes` in words."""
    registers = f", {size[5]} registers" if size[5] else ""
    return (
        f"patches of {size[0]} px, width {size[1]}, MLP of {size[2]}, {size[3]} layers, {size[4]} "
        f"heads{registers}"
    )
