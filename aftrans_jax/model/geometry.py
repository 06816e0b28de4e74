"""Where patches lie in an image; a leaf, which the trunk and what is built on it import."""

from typing import NamedTuple


class Geometry(NamedTuple):
    """The grid of patches in a branch's image; all in pixels.

    Paper: section 3.2.
    """

    image_size: int
    patch_size: int
    stride: int
