"""The sizes of vision transformer that published checkpoints come in."""

from types import MappingProxyType
from typing import NamedTuple


class Variant(NamedTuple):
    """Sizes of one vision transformer.

    `registers` are learnt tokens behind the class token, without a place in the image: those of
    DINOv2, and DeiT's distillation token.

    Follows: vit_jax models_config.
    """

    patch_size: int
    hidden: int
    mlp: int
    layers: int
    heads: int
    registers: int = 0

    def patches_per_side(self, image_size: int, stride: int) -> int:
        """Returns how many patches fit along one side; pixels past the last one are not seen.

        Raises:
          ValueError: the image is smaller than a patch, or the stride leaves gaps between patches.

        Paper: section 3.2, patches of 16 px every 12 px.
        """
        patch = self.patch_size
        if image_size < patch:
            raise ValueError(
                f"image size {image_size} px is smaller than one {patch} px patch: "
                f"use at least {patch} px or a variant with smaller patches"
            )
        if not 1 <= stride <= patch:
            raise ValueError(
                f"model.stride={stride} does not suit {patch} px patches: "
                f"use 1 to {patch}, or patches would not touch (the paper: 12 for patches of 16)"
            )
        return (image_size - patch) // stride + 1


VARIANTS = MappingProxyType(
    {
        "mini8": Variant(8, 96, 384, 6, 3),  # the built-in one, for 64 px
        "ti16": Variant(16, 192, 768, 12, 3),
        "s16": Variant(16, 384, 1536, 12, 6),
        "s32": Variant(32, 384, 1536, 12, 6),
        "s8": Variant(8, 384, 1536, 12, 6),
        "b16": Variant(16, 768, 3072, 12, 12),
        "b32": Variant(32, 768, 3072, 12, 12),
        "b8": Variant(8, 768, 3072, 12, 12),
        "l16": Variant(16, 1024, 4096, 24, 16),
        "l32": Variant(32, 1024, 4096, 24, 16),
        "h14": Variant(14, 1280, 5120, 32, 16),
        "s14": Variant(14, 384, 1536, 12, 6),
        "b14": Variant(14, 768, 3072, 12, 12),
        "l14": Variant(14, 1024, 4096, 24, 16),
        "s14_reg4": Variant(14, 384, 1536, 12, 6, registers=4),
        "b14_reg4": Variant(14, 768, 3072, 12, 12, registers=4),
        "l14_reg4": Variant(14, 1024, 4096, 24, 16, registers=4),
        "ti16_reg1": Variant(16, 192, 768, 12, 3, registers=1),
        "s16_reg1": Variant(16, 384, 1536, 12, 6, registers=1),
        "b16_reg1": Variant(16, 768, 3072, 12, 12, registers=1),
    }
)
