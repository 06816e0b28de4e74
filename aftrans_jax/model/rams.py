"""RAMS-Trans: attention rollout -> region -> local pass, one trunk for both, two class tokens.

Hu et al., "RAMS-Trans: Recurrent Attention Multi-scale Transformer for Fine-grained Image
Recognition", ACM Multimedia 2021; here with two scales.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from aftrans_jax.model.branch_tokens import BranchTokens, LocalTokens
from aftrans_jax.model.crops import crop_and_resize
from aftrans_jax.model.outputs import Images, ModelOutput, Region
from aftrans_jax.model.regions import find_region
from aftrans_jax.model.rollout import Projections, attention_maps, projections
from aftrans_jax.model.vit import ViT, class_feature

CLASS_TOKENS = 2  # in every pass: the global branch reads the first, the local branch the second


def mean_row_of_rollout(layers: Sequence[Projections]) -> Float[Array, "batch tokens"]:
    """Returns the mean over all rows of the attention rollout, in float32; it sums to 1.

    Rollout is the product of all layers' maps, the last layer's leftmost, each averaged over heads,
    with the identity added for the residual, and its rows rescaled to sum to 1.

    Args:
      layers: queries and keys of every token, from the first layer to the last.
    """
    batch, tokens = layers[-1].key.shape[:2]
    row = jnp.full((batch, tokens), 1 / tokens)
    for layer in reversed(layers):
        attention = attention_maps(layer).mean(axis=1)
        row = (row + jnp.einsum("bq,bqk->bk", row, attention, precision="highest")) / 2
    return row


class RAMS(nn.Module):
    """Recurrent attention multi-scale transformer of two scales.

    Attributes:
      vit: the trunk; patch projection, blocks, norm and head serve both branches.
      local_size: side of the crop that the local branch sees, in pixels.
      min_box: shorter side, in pixels of the global image, that a box must have; one with a smaller
        side becomes the whole image.
      region_method: one of `regions.REGION_METHODS`; RAMS-Trans's is the largest component.
      resample: one of `resize.RESAMPLES`.
      threshold: a patch is in the mask above this multiple of the patches' mean.

    Follows: RAMS-Trans VisionTransformer, but for the crop's size, edges and own positions.
    """

    vit: ViT
    local_size: int
    min_box: int
    region_method: str = "largest_component"
    resample: str = "antialiased"
    threshold: float = 1.2

    def setup(self) -> None:
        """Makes what RAMS-Trans adds to the trunk."""
        self.local = LocalTokens(self.vit.variant, self.local_size, self.vit.stride)

    def __call__(self, images: Images, *, train: bool) -> ModelOutput:
        """Returns both branches' logits and the region that the local branch sees, without gates.

        Args:
          images: pixel values 0..255 (not 0..1), square. The global branch sees them shrunk to the
            trunk's image size, the local branch a crop of them as they are.
          train: whether dropout and stochastic depth are on.

        Raises:
          ValueError: the images are not as `ViT.embed_images` takes them.
        """
        images, patches, scale = self.vit.embed_images(images)
        branches = self._branches()
        tokens, layers = self.vit.encode(
            patches,
            train=train,
            branch_tokens=branches["global"],
            all_tokens=True,
            observe=projections,
        )
        region = self._region(layers, scale)
        crops = crop_and_resize(images, region.box, self.local_size, self.resample)
        local, _ = self.vit.encode(
            self.vit.embed(crops), train=train, branch_tokens=branches["local"], all_tokens=True
        )
        features = {"global": class_feature(tokens, 0), "local": class_feature(local, 1)}
        logits = {name: self.vit.classify(feature) for name, feature in features.items()}
        return ModelOutput(logits, features, region)

    def global_logits(self, images: Images) -> Float[Array, "batch classes"]:
        """Returns the global logits alone, for where these answer: no rollout, no crop, one pass.

        Args and errors are those of `__call__`.
        """
        _, patches, _ = self.vit.embed_images(images)
        branch_tokens = self._branches()["global"]
        tokens, _ = self.vit.encode(patches, train=False, branch_tokens=branch_tokens)
        return self.vit.classify(class_feature(tokens, 0))

    def _branches(self) -> dict[str, BranchTokens]:
        """Returns both class tokens, each with its position, and the positions of the patches."""
        branches = {"global": self.vit.trunk_tokens(), "local": self.local()}
        cls = jnp.concatenate([tokens.cls for tokens in branches.values()], axis=1)
        first = [tokens.pos_embedding[:, :1] for tokens in branches.values()]
        return {
            name: BranchTokens(cls, jnp.concatenate([*first, tokens.pos_embedding[:, 1:]], axis=1))
            for name, tokens in branches.items()
        }

    def _region(self, layers: Sequence[Projections], scale: float) -> Region:
        """Returns the region; `scale` is from pixels of the global image to those of the source."""
        relevance = mean_row_of_rollout(layers)[:, CLASS_TOKENS:]
        mask = relevance > self.threshold * relevance.mean(axis=-1, keepdims=True)
        return find_region(
            mask,
            relevance,
            scale,
            method=self.region_method,
            geometry=self.vit.geometry,
            min_box=self.min_box,
        )
