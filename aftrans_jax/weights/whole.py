"""Whether a file's arrays are all of a plain ViT, by their names and shapes alone."""

from aftrans_jax.weights.arrays import AnyArrays, Shapes, misfits
from aftrans_jax.weights.fitting import Sizes, sizes
from aftrans_jax.weights.layouts import POSITIONS, REGISTERS

_OPTIONAL = ("head/", "pre_logits/")


def check_whole(arrays: AnyArrays) -> None:
    """Passes the arrays of a plain ViT, with or without a head, registers and `pre_logits`.

    Args:
      arrays: by official name; none is read.

    Raises:
      ValueError: some are missing, not expected, or of a shape that the others contradict.
    """
    found = sizes(arrays)
    if found is None:
        raise ValueError(
            "it has no embedding/kernel of patches beside a block 0 of three-dimensional queries: "
            "expected a plain ViT"
        )
    positions = arrays[POSITIONS].shape if POSITIONS in arrays else ()
    tokens = positions[1] if len(positions) == 3 else 0
    wanted = _shapes(found, tokens)
    shapes = {name: x.shape for name, x in arrays.items() if not name.startswith(_OPTIONAL)}
    if odd := misfits(shapes, wanted):
        raise ValueError(
            f"it is not the whole of a plain ViT of {found.layers} layers; {odd}. Make the file "
            "again from its source"
        )


def _shapes(found: Sizes, tokens: int) -> Shapes:
    patch, hidden, mlp, heads = found.patch_size, found.hidden, found.mlp, found.heads
    width = hidden // heads
    shapes: Shapes = {
        "cls": (1, 1, hidden),
        "embedding/kernel": (patch, patch, 3, hidden),
        "embedding/bias": (hidden,),
        POSITIONS: (1, tokens, hidden),
        **_norm("Transformer/encoder_norm", hidden),
    }
    if found.registers:
        shapes[REGISTERS] = (1, found.registers, hidden)
    for layer in range(found.layers):
        block = f"Transformer/encoderblock_{layer}"
        attention = f"{block}/MultiHeadDotProductAttention_1"
        for part in ("query", "key", "value"):
            shapes[f"{attention}/{part}/kernel"] = (hidden, heads, width)
            shapes[f"{attention}/{part}/bias"] = (heads, width)
        shapes |= {
            f"{attention}/out/kernel": (heads, width, hidden),
            f"{attention}/out/bias": (hidden,),
            f"{block}/MlpBlock_3/Dense_0/kernel": (hidden, mlp),
            f"{block}/MlpBlock_3/Dense_0/bias": (mlp,),
            f"{block}/MlpBlock_3/Dense_1/kernel": (mlp, hidden),
            f"{block}/MlpBlock_3/Dense_1/bias": (hidden,),
            **_norm(f"{block}/LayerNorm_0", hidden),
            **_norm(f"{block}/LayerNorm_2", hidden),
        }
    return shapes


def _norm(name: str, hidden: int) -> Shapes:
    return {f"{name}/scale": (hidden,), f"{name}/bias": (hidden,)}
