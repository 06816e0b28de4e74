"""Overlapping patches and their embedding."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aftrans_jax.model.devices import default_device


class PatchEmbedding(nn.Module):
    """The embedding of overlapping patches, in raster order.

    Attributes:
      hidden: width of the embeddings.
      patch_size: side of a patch in pixels.
      stride: distance between patches in pixels.
      dtype: type of the computation; parameters stay float32.

    Follows: vit_jax VisionTransformer, whose embedding is a flax Conv.

    Paper: PaE of eq. 1; overlapping by section 3.2.
    """

    hidden: int
    patch_size: int
    stride: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch side side channels"]
    ) -> Float[Array, "batch patches hidden"]:
        shape = (self.patch_size, self.patch_size, images.shape[-1], self.hidden)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.hidden,), jnp.float32)
        images, kernel, bias = (x.astype(self.dtype) for x in (images, kernel, bias))
        return embed_automatically(images, kernel, self.stride) + bias


def embed_automatically(
    images: Float[Array, "batch side side channels"],
    kernel: Float[Array, "patch patch channels hidden"],
    stride: int,
) -> Float[Array, "batch patches hidden"]:
    """Returns what `embed_by_convolution` does, in the way that suits the device.

    That is a matrix product, whose gradient is one as well, and on TPUs, whose layouts do not suit
    small patches, a convolution. The benchmarks `options` and `ahead` compare them.
    """
    embed = embed_by_convolution if default_device().platform == "tpu" else embed_by_product
    return embed(images, kernel, stride)


def embed_by_convolution(
    images: Float[Array, "batch side side channels"],
    kernel: Float[Array, "patch patch channels hidden"],
    stride: int,
) -> Float[Array, "batch patches hidden"]:
    """Returns each patch's sum of pixels times the kernel, by a strided convolution."""
    numbers = ("NHWC", "HWIO", "NHWC")
    patches = jax.lax.conv_general_dilated(
        images, kernel, (stride, stride), "VALID", dimension_numbers=numbers
    )
    return patches.reshape(images.shape[0], -1, kernel.shape[-1])


def embed_by_product(
    images: Float[Array, "batch side side channels"],
    kernel: Float[Array, "patch patch channels hidden"],
    stride: int,
) -> Float[Array, "batch patches hidden"]:
    """Returns what `embed_by_convolution` does, by a product of flat patches with the kernel.

    With the convolution, whose gradient XLA computes slowly, a step takes a sixth longer on a CPU.
    """
    return flat_patches(images, kernel.shape[0], stride) @ kernel.reshape(-1, kernel.shape[-1])


def flat_patches(
    images: Float[Array, "batch side side channels"], patch_size: int, stride: int
) -> Float[Array, "batch patches pixels"]:
    """Returns overlapping patches in raster order, the pixels and channels of each in one axis.

    Patches are put together from square cells that neighbours share, which takes few slices.

    Args:
      images: square; pixels beyond the last patch, at the right and lower edges, are not used.
      patch_size: side of a patch in pixels.
      stride: distance between patches in pixels.
    """
    batch, side_px, _, channels = images.shape
    side = (side_px - patch_size) // stride + 1
    cell = math.gcd(patch_size, stride)
    covered = stride * (side - 1) + patch_size
    x = images[:, :covered, :covered]
    x = x.reshape(batch, covered // cell, cell, covered // cell, cell, channels)
    for axis in (1, 4):  # cells of a column, then of a row, become [patches, cells of a patch]
        starts = range(patch_size // cell)
        last = stride // cell * (side - 1) + 1
        parts = [jax.lax.slice_in_dim(x, i, i + last, stride // cell, axis=axis) for i in starts]
        x = jnp.stack(parts, axis=axis + 1)
    x = x.transpose(0, 1, 4, 2, 3, 5, 6, 7)  # rows, columns, then within a patch
    return x.reshape(batch, side * side, -1)
