"""Patches of another size: a kernel for resized patches that acts as the old one on the originals.

The pseudo-inverse resize of FlexiViT (Beyer et al., CVPR 2023, section 3.4).
"""

import numpy as np
from jaxtyping import Float


def resize_kernel(
    kernel: Float[np.ndarray, "old old channels hidden"], patch_size: int
) -> Float[np.ndarray, "new new channels hidden"]:
    """Returns a patch embedding's kernel for patches of another size, in float32.

    Where patches grow, the product with a bilinearly resized patch equals the old kernel's product
    with the patch itself; where they shrink, it is the closest to that in the mean over pixels of
    white noise.

    Args:
      kernel: kernel of the patch embedding, not changed.
      patch_size: side of the new patches in px, at least 1.

    Follows: big_vision models/proj/flexi/vit.py resample_patchemb.
    """
    # The matrix that resizes a patch is the Kronecker product of the matrix for rows and columns
    # with itself, and the same is true of the pseudo-inverses.
    side = np.linalg.pinv(_resize_matrix(kernel.shape[0], patch_size).T)
    return np.einsum("ai,bj,ijch->abch", side, side, kernel.astype(np.float64)).astype(np.float32)


def _resize_matrix(old: int, new: int) -> Float[np.ndarray, "new old"]:
    """Returns the matrix of linear resizing, centres of pixels aligned, without antialiasing."""
    positions = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.maximum(0.0, 1.0 - np.abs(positions[:, None] - np.arange(old)))
