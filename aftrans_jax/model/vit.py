"""Vision transformer with overlapping patches.

The parameters of `ViT` are the official npz unflattened: `embedding`, `cls`,
`Transformer/{posembed_input, encoderblock_0.., encoder_norm}`, `head`, and `registers` of a variant
that has them.
"""

from functools import partial
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from aftrans_jax.model.attention import KERNELS, AttentionKernel
from aftrans_jax.model.branch_tokens import BranchTokens
from aftrans_jax.model.encoder import Encoder, Observe, Select
from aftrans_jax.model.geometry import Geometry
from aftrans_jax.model.outputs import Images
from aftrans_jax.model.patches import PatchEmbedding
from aftrans_jax.model.resize import shrink
from aftrans_jax.model.variants import Variant

GELUS = MappingProxyType(
    {"tanh": partial(nn.gelu, approximate=True), "exact": partial(nn.gelu, approximate=False)}
)


def class_feature(
    tokens: Float[Array, "batch tokens hidden"], index: int = 0
) -> Float[Array, "batch hidden"]:
    """Returns the class token of an encoder's output in float32, which the head reads.

    RAMS-Trans alone has a second one, at index 1.
    """
    return tokens[:, index].astype(jnp.float32)


class ViT(nn.Module):
    """Plain vision transformer: the trunk of every model here, and by itself `PlainViT`.

    Attributes:
      variant: its sizes.
      num_classes: width of the head.
      image_size: side of the images in pixels; the position embedding is made for it.
      stride: distance between patches in pixels; below the patch size they overlap.
      gelu: one of `GELUS`; the official files were trained with "tanh", DeiT with "exact".
      mean, std: per channel, of pixel values scaled to [0, 1].
      dropout: rate while training.
      stochastic_depth: rate at which, while training, each residual branch of the last block is
        dropped for an image; it grows linearly from 0 in the first.
      remat: what is computed again going backward, one of `encoder.REMATS`.
      attention: the kernel, see `attention.KERNELS`.
      dtype: type of the computation; parameters, class rows and logits stay float32.

    Follows: vit_jax VisionTransformer.
    """

    variant: Variant
    num_classes: int
    image_size: int
    stride: int
    gelu: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    remat: str = "none"
    attention: AttentionKernel = KERNELS["auto"]
    dtype: jnp.dtype = jnp.dtype("float32")

    def setup(self) -> None:
        """Makes the parts, under the names of the npz files."""
        self.embedding = PatchEmbedding(
            self.variant.hidden, self.variant.patch_size, self.stride, self.dtype
        )
        shape = (1, 1, self.variant.hidden)
        self.cls = self.param("cls", nn.initializers.zeros_init(), shape, jnp.float32)
        if self.variant.registers:  # without them a trunk has no such parameter
            shape = (1, self.variant.registers, self.variant.hidden)
            self.registers = self.param(
                "registers", nn.initializers.normal(0.02), shape, jnp.float32
            )
        self.Transformer = Encoder(
            variant=self.variant,
            num_tokens=1 + self.variant.patches_per_side(self.image_size, self.stride) ** 2,
            gelu=GELUS[self.gelu],
            attention=self.attention,
            dropout=self.dropout,
            stochastic_depth=self.stochastic_depth,
            remat=self.remat,
            dtype=self.dtype,
        )
        self.head = nn.Dense(
            self.num_classes, kernel_init=nn.initializers.zeros_init(), dtype=jnp.float32
        )

    @property
    def geometry(self) -> Geometry:
        """The patches' geometry in images of the image size."""
        return Geometry(self.image_size, self.variant.patch_size, self.stride)

    def normalize(self, images: Images) -> Float[Array, "batch height width 3"]:
        """Returns images of pixel values 0..255 as the trunk expects them, in float32.

        It runs on the device, to which uint8 images are a quarter of the bytes. Values are not
        checked: those of 0..1 would be taken for black.

        Raises:
          ValueError: there is no image, or they are not [batch height width 3].
        """
        images = jnp.asarray(images, jnp.float32)
        if images.ndim != 4 or images.shape[3] != 3 or images.shape[0] == 0:
            raise ValueError(
                f"images of the shape {images.shape}: expected [batch height width 3], one image "
                "or more. Give a single one as x[None]"
            )
        mean = jnp.asarray(self.mean)
        std = jnp.asarray(self.std)
        return (images / 255 - mean) / std

    def embed(
        self, images: Float[Array, "batch height width 3"]
    ) -> Float[Array, "batch patches hidden"]:
        """Returns the patch embeddings of normalised images, in raster order.

        Paper: PaE of eq. 1.
        """
        return self.embedding(images)

    def embed_images(
        self, images: Images
    ) -> tuple[Float[Array, "batch side side 3"], Float[Array, "batch patches hidden"], float]:
        """Returns normalised images, the embeddings of their patches once shrunk, and the scale.

        Args:
          images: pixel values 0..255 (not 0..1), square, of the image size or larger.

        Returns:
          The normalised images at their own size; the embeddings of their patches at the image
          size; how many pixels of the former one pixel of the latter is.

        Raises:
          ValueError: the images are not [batch height width 3], not square, which would be
            stretched, or smaller than the image size, which would be enlarged.
        """
        images = self.normalize(images)
        height, width = images.shape[1:3]
        if height != width or height < self.image_size:
            raise ValueError(
                f"images of {height} x {width} px: expected square ones of {self.image_size} x "
                f"{self.image_size} px or more, as they are shrunk and neither stretched nor "
                "enlarged. Resize them, or pad them"
            )
        patches = self.embed(shrink(images, self.image_size))
        return images, patches, height / self.image_size

    def encode(
        self,
        patches: Float[Array, "batch patches hidden"],
        *,
        train: bool,
        branch_tokens: BranchTokens | None = None,
        all_tokens: bool = False,
        observe: Observe | None = None,
        select: Select | None = None,
    ) -> tuple[Float[Array, "batch tokens hidden"], list[Any]]:
        """Returns normalised tokens, the class token first, and what was observed in each layer.

        Args:
          patches: embeddings from `embed`.
          train: whether dropout and stochastic depth are on.
          branch_tokens: a branch's class token and positions; the trunk's when None.
          all_tokens: whether patch tokens are wanted from the last block.
          observe: function of a layer's queries and keys, whose results are returned.
          select: chooses or changes the tokens that enter the last block.

        Paper: section 2.1, eq. 1 to 3.
        """
        tokens = self.with_class_token(patches, branch_tokens)
        return self.Transformer(
            tokens, train=train, all_tokens=all_tokens, observe=observe, select=select
        )

    def with_class_token(
        self, patches: Float[Array, "batch patches hidden"], branch_tokens: BranchTokens | None
    ) -> Float[Array, "batch tokens hidden"]:
        """Returns the encoder's input: class token, then the patches, positions added to both.

        A trunk's registers stand between them, in either branch the same.

        Args:
          patches: embeddings from `embed`.
          branch_tokens: a branch's class token and positions; the trunk's when None.

        Paper: eq. 1.
        """
        if branch_tokens is None:
            branch_tokens = self.trunk_tokens()
        cls, pos_embedding = branch_tokens
        cls = jnp.broadcast_to(cls, (patches.shape[0], *cls.shape[1:]))
        tokens = jnp.concatenate([cls.astype(self.dtype), patches], axis=1)
        tokens += pos_embedding.astype(self.dtype)
        if not self.variant.registers:
            return tokens
        shape = (patches.shape[0], *self.registers.shape[1:])
        registers = jnp.broadcast_to(self.registers, shape).astype(self.dtype)
        return jnp.concatenate([tokens[:, :1], registers, tokens[:, 1:]], axis=1)

    def trunk_tokens(self) -> BranchTokens:
        """Returns the trunk's class token and positions."""
        return BranchTokens(self.cls, self.Transformer.posembed_input())

    def classify(self, features: Float[Array, "batch hidden"]) -> Float[Array, "batch classes"]:
        """Returns the logits of class tokens from `class_feature`.

        Paper: eq. 4, before the softmax.
        """
        return self.head(features)

    def __call__(self, images: Images, *, train: bool) -> Float[Array, "batch classes"]:
        """Returns the logits.

        Args:
          images: pixel values 0..255 (not 0..1), square; they are shrunk to the image size.
          train: whether dropout and stochastic depth are on.

        Raises:
          ValueError: the images are not as `embed_images` takes them.
        """
        return self.classify(self.features(images, train=train))

    def features(self, images: Images, *, train: bool) -> Float[Array, "batch hidden"]:
        """Returns the class tokens, which the head reads.

        Args and errors are those of `__call__`.
        """
        _, patches, _ = self.embed_images(images)
        return class_feature(self.encode(patches, train=train)[0])
