"""The FLOP that a trunk needs, 2 per multiply-add."""

from aftrans_jax.config import Config
from aftrans_jax.model.variants import VARIANTS, Variant
from benchmarks.models.cases import Case


def flops(variant: Variant, image_size: int, stride: int, *, every_token: bool = True) -> int:
    """Returns the FLOP of one image's forward pass: products and attention.

    Args:
      variant: of the trunk.
      image_size: side of the image in pixels.
      stride: distance between patches in pixels.
      every_token: False counts keys and values of all tokens and the rest of the last block for
        the class token alone.
    """
    patches = variant.patches_per_side(image_size, stride) ** 2
    tokens, hidden = 1 + patches, variant.hidden
    per_key = 2 * hidden * hidden  # key and value
    per_query = 2 * hidden * hidden + 2 * hidden * variant.mlp  # query, out, perceptron
    queries = tokens * (variant.layers - 1) + (tokens if every_token else 1)
    products = tokens * variant.layers * per_key + queries * (per_query + 2 * tokens * hidden)
    return 2 * (products + patches * 3 * variant.patch_size**2 * hidden)


def case_flops(case: Case, config: Config) -> int:
    """Returns the FLOP of one image's forward passes through all branches of a case."""
    sizes = (config.data[branch] for branch in case.branches)
    variant, stride = VARIANTS[config.model.variant], config.model.stride
    return sum(flops(variant, size, stride, every_token=case.every_token) for size in sizes)
