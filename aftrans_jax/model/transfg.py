"""TransFG: the last block sees the class token and, of each head, the patch that it attends to.

He et al., "TransFG: A Transformer Architecture for Fine-grained Recognition", AAAI 2022. Its
contrastive loss is the key `loss.contrastive`.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from aftrans_jax.model.outputs import Images, ModelOutput
from aftrans_jax.model.rollout import Projections, attention_maps, projections
from aftrans_jax.model.vit import ViT, class_feature


def class_row_of_product(
    layers: Sequence[Projections],
) -> Float[Array, "batch heads tokens"]:
    """Returns the class token's row of the product of all layers' maps, per head, in float32.

    The last layer's map is the leftmost factor.

    Args:
      layers: queries and keys, from the first layer to the last.
    """
    *earlier, last = layers
    row = attention_maps(last._replace(query=last.query[:, :1]))[:, :, 0]
    for layer in reversed(earlier):
        row = jnp.einsum("bhq,bhqk->bhk", row, attention_maps(layer), precision="highest")
    return row


def part_indices(layers: Sequence[Projections]) -> Int[Array, "batch heads"]:
    """Returns the token of each head's best patch, from 1 on: token 0 is the class token.

    Heads may agree; the first of equally good patches is taken.
    """
    return 1 + class_row_of_product(layers)[..., 1:].argmax(axis=-1)


def select_parts(
    tokens: Float[Array, "batch tokens hidden"], layers: Sequence[Projections]
) -> Float[Array, "batch selected hidden"]:
    """Returns 1 + heads tokens: the class token and, of each head, the token of its best patch."""
    parts = jnp.take_along_axis(tokens, part_indices(layers)[..., None], axis=1)
    return jnp.concatenate([tokens[:, :1], parts], axis=1)


class TransFG(nn.Module):
    """The trunk with part selection before its last block.

    It has as many parameters as the trunk, which needs two layers or more.

    Follows: TransFG VisionTransformer, whose product of whole maps gives the same row.
    """

    vit: ViT

    def __call__(self, images: Images, *, train: bool) -> ModelOutput:
        """Returns global logits and no region.

        Args:
          images: pixel values 0..255 (not 0..1), square; they are shrunk to the trunk's image size.
          train: whether dropout and stochastic depth are on.

        Raises:
          ValueError: the images are not as `ViT.embed_images` takes them.
        """
        _, patches, _ = self.vit.embed_images(images)
        tokens, _ = self.vit.encode(patches, train=train, observe=projections, select=select_parts)
        features = class_feature(tokens)
        return ModelOutput({"global": self.vit.classify(features)}, {"global": features}, None)

    def global_logits(self, images: Images) -> Float[Array, "batch classes"]:
        """Returns the global logits, of which there are no others.

        Args and errors are those of `__call__`.
        """
        return self(images, train=False).logits["global"]
