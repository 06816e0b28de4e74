"""The plain vision transformer as a model to train."""

import flax.linen as nn
from jaxtyping import Array, Float

from aftrans_jax.model.outputs import Images, ModelOutput
from aftrans_jax.model.vit import ViT


class PlainViT(nn.Module):
    """The trunk by itself, as a model to train and compare with.

    Paper: the ViT of tables 1, 2 and 3.
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
        features = self.vit.features(images, train=train)
        return ModelOutput({"global": self.vit.classify(features)}, {"global": features}, None)

    def global_logits(self, images: Images) -> Float[Array, "batch classes"]:
        """Returns the global logits, of which there are no others.

        Args and errors are those of `__call__`.
        """
        return self.vit(images, train=False)
