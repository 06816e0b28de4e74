"""Whether a file of weights suits the configured model, and what to do where it does not."""

from collections.abc import Mapping, Sequence

from aftrans_jax.model.variants import Variant
from aftrans_jax.weights.arrays import CONVERT, AnyArrays
from aftrans_jax.weights.fitting import sizes


def local_size_doubts(local_size: int, trained: int | None) -> tuple[str, ...]:
    """Returns a line where the local branch reads at another size than the file was trained at.

    Args:
      local_size: px.
      trained: px, None where it is not known.
    """
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
    same = variant[1:] == found[1:]
    alike = [known for known in variants.values() if known[1:] == found[1:]]
    wanted = dict.fromkeys(known.patch_size for known in ([variant] if same else alike))
    convert = ", or ".join(
        f"{CONVERT} --patch_size={size} --out=x.npz makes a file of patches of {size} px"
        for size in wanted
    )
    text, own = map(_described, (found, variant))
    if not fitting:
        remedy = convert or f"there are {', '.join(variants)}"
        raise ValueError(f"the file has {text}, as no variant has; {remedy}")
    remedies = [f"use {' or '.join(fitting)}", *([convert] if same else [])]
    raise ValueError(
        f"the file has {text}, model.variant={name!r} has {own}; {'; '.join(remedies)}"
    )


def _described(size: Sequence[int]) -> str:
    """Returns the numbers of `weights.fitting.Sizes` in words."""
    registers = f", {size[5]} registers" if size[5] else ""
    return (
        f"patches of {size[0]} px, width {size[1]}, MLP of {size[2]}, {size[3]} layers, {size[4]} "
        f"heads{registers}"
    )
