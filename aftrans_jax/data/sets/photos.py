"""`PhotoTable`, one split of a photo set by its lists, and `PhotoSource`, which decodes it."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from aftrans_jax.data.decoding.decode import MAX_PIXELS, Photo, read_photo
from aftrans_jax.data.examples import NO_BOX, Example
from aftrans_jax.data.names import locate

_NUM_ASKING = 16  # threads that look for files
_AT_A_TIME = 500  # files that each of them looks for by turns


@dataclass(frozen=True, eq=False)  # == would raise, since arrays have no truth value
class PhotoTable:
    """The table of one split of a photo set.

    Attributes:
      root: folder that contains the images.
      names: path of each image relative to `root`, with forward slashes.
      labels: class of each image.
      boxes: (top, left, bottom, right) of each image, half-open, in pixels of the file as it is
        stored; NaN where one image lacks a box, None where all do.
    """

    root: Path
    names: tuple[str, ...]
    labels: tuple[int, ...]
    boxes: Float32[np.ndarray, "examples 4"] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def box(self, index: int) -> Float32[np.ndarray, "4"]:
        """Returns the box of one image, NaN where there is none."""
        return NO_BOX if self.boxes is None else self.boxes[index]

    def path(self, index: int) -> Path:
        """Returns the path of an image as the disk spells it; see `locate`."""
        return locate(self.root, self.names[index])

    def take(self, indices: Sequence[int]) -> "PhotoTable":
        """Returns the table of some images, in the order of `indices`."""
        return replace(
            self,
            names=tuple(self.names[index] for index in indices),
            labels=tuple(self.labels[index] for index in indices),
            boxes=None if self.boxes is None else self.boxes[list(indices)],
        )

    def missing(self) -> list[str]:
        """Returns the names of images whose files below `root` are missing or cannot be found."""
        # On network disks each look-up takes long, but several at once take no longer.
        starts = range(0, len(self), _AT_A_TIME)
        with ThreadPoolExecutor(_NUM_ASKING) as pool:
            return list(chain.from_iterable(pool.map(self._missing_from, starts)))

    def _missing_from(self, start: int) -> list[str]:
        indices = range(len(self))[start : start + _AT_A_TIME]
        return [self.names[i] for i in indices if not os.path.isfile(self.path(i))]


@dataclass(frozen=True)
class PhotoSource:
    """The examples of a table, each decoded when it is read, upright with its box.

    An image of more than `max_pixels` is an error. With a `resize_size`, large JPEGs are already
    squares of that side, see `decode_photo`.
    """

    table: PhotoTable
    max_pixels: int = MAX_PIXELS
    resize_size: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return self.table.names

    @property
    def labels(self) -> tuple[int, ...]:
        return self.table.labels

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Example:
        photo = self._read(index, self.resize_size)
        return Example(photo.pixels, self.table.labels[index], photo.place(self.table.box(index)))

    def at(self, size: int | None) -> "PhotoSource":
        """Returns the same examples, for squares of this side in pixels; None: with all pixels."""
        return replace(self, resize_size=size)

    def photo(self, index: int) -> Photo:
        """Returns an image with all of its pixels, and what was found while decoding it.

        Raises:
          FileNotFoundError, ValueError: see `read_photo`.
        """
        return self._read(index, None)

    def _read(self, index: int, resize_size: int | None) -> Photo:
        path = self.table.path(index)
        return read_photo(path, max_pixels=self.max_pixels, resize_size=resize_size)
