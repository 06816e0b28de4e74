"""Resized images in memory, so that only the first epoch decodes them."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil

from aftrans_jax.data.examples import Example, Source, at_size
from aftrans_jax.data.loading.transforms import resize

_LARGEST_SHARE = 0.8  # of the free memory; the rest is for batches and checkpoints


class ResizedCache:
    """The examples of a source as squares of one size, each decoded and resized at first use.

    Batches are bit for bit those of the source itself, since resizing comes first in every
    transform. Images are kept as uint8: at 448 px 0.6 MB each, 3.6 GB for CUB's training split.
    """

    def __init__(self, source: Source, size: int) -> None:
        """Reserves memory, which is taken page by page as images are decoded; `size` in pixels."""
        self.source = source
        self._size = size
        self._images = np.empty((len(source), size, size, 3), np.uint8)
        self._boxes = np.empty((len(source), 4), np.float32)
        self._ready = np.zeros(len(source), bool)
        self.names = source.names
        self.labels = source.labels

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        if not self._ready[index]:
            example = resize(self.source[index], self._size)
            self._images[index] = example.image
            self._boxes[index] = example.box
            self._ready[index] = True  # set last, because other threads read it
        return Example(self._images[index], self.labels[index], self._boxes[index])

    def at(self, size: int | None) -> Source:
        """Returns the same examples, uncached, for squares of this side; None: with all pixels."""
        return at_size(self.source, size)


def check_memory(splits: Sequence[tuple[int, int]], copies: int = 1) -> str:
    """Returns a line that says how much memory the resized images will take.

    Call it before training: the memory itself is only taken during the first epoch.

    Args:
      splits: number of images of each split, and the side of its resized images in pixels.
      copies: processes on this host, each of which will hold nearly all images.

    Raises:
      ValueError: that is more than four fifths of the free memory.
    """
    needed = copies * sum(count * size**2 * 3 for count, size in splits)
    free = free_memory()
    by_size = {size: sum(n for n, other in splits if other == size) for _, size in splits}
    images = " and ".join(f"{n:,} images of {size} x {size} px" for size, n in by_size.items())
    shared = f", once for each of {copies} processes on this host," if copies > 1 else ""
    figures = (
        f"{images}{shared} take {needed / 1e9:.2f} GB of the {free / 1e9:.2f} GB of free memory"
    )
    if needed > _LARGEST_SHARE * free:
        raise ValueError(
            f"data.cache='ram': {figures}: expected at most {_LARGEST_SHARE:.0%}. Use "
            "--config.data.cache=none, or a smaller data.source_size."
        )
    return f"cache: {figures}"


def free_memory(
    own_groups: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")
) -> int:
    """Returns the bytes that this process may still take, within the limits of its containers.

    Args:
      own_groups: file that lists the control groups of this process.
      mount: folder of all control groups; in a container, its own may be the root there.
    """
    free = [psutil.virtual_memory().available]
    rows = own_groups.read_text().splitlines() if own_groups.is_file() else []
    for _, controllers, path in (row.split(":", 2) for row in rows):
        if controllers and "memory" not in controllers.split(","):
            continue
        root, limit, used = (
            (mount / "memory", "memory.limit_in_bytes", "total_rss")
            if controllers
            else (mount, "memory.max", "anon")
        )
        folder = root / os.path.normpath(f"/{path}").lstrip("/")
        for group in (folder, *folder.parents):
            if group.is_relative_to(root):
                free += _rest(group / limit, group / "memory.stat", used)
    return max(min(free), 0)


def _rest(limit: Path, stat: Path, used: str) -> list[int]:
    """Returns the bytes left to a group, nothing where it has no limit ("max") or is hidden."""
    try:
        values = dict(row.split() for row in stat.read_text().splitlines())
        return [int(limit.read_text()) - int(values[used])]
    except (OSError, ValueError, KeyError):
        return []
