"""Overlapping patches and their embedding."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class PatchEmbedding(nn.Module):
    """Returns the embeddings of overlapping patches, in raster order.

    Choice: a convolution written as one matrix product, whose gradient is one as well; XLA's
    gradient of a strided convolution took a sixth of the step on a CPU.
    """

    hidden: int
    patch_size: int
    stride: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch patches hidden"]:
        shape = (self.patch_size, self.patch_size, images.shape[-1], self.hidden)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.hidden,))
        pixels = flat_patches(images.astype(self.dtype), self.patch_size, self.stride)
        kernel, bias = kernel.astype(self.dtype), bias.astype(self.dtype)
        return pixels @ kernel.reshape(-1, self.hidden) + bias


def flat_patches(
    images: Float[Array, "batch height width channels"], patch_size: int, stride: int
) -> Float[Array, "batch patches pixels"]:
    """Returns overlapping patches in raster order, each one's pixels and channels in a row.

    Args:
      images: square; what the last patch leaves over at their right and lower edges is not seen.
      patch_size: side of a patch in pixels.
      stride: distance between patches in pixels.

    Choice: patches are made of cells that neighbours share, so that few strided slices suffice.
    """
    batch, height, _, channels = images.shape
    side = (height - patch_size) // stride + 1
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
