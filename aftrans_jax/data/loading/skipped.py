"""The record of images that could not be read, for runs that go on without them."""

import numpy as np
from absl import logging
from jaxtyping import Bool

from aftrans_jax.data.examples import Source

_FEW = 10  # fewer unreadable images say nothing about the disk
_ENOUGH = 200  # images asked for, which tell a disk that is gone from a folder that is damaged


class Skipped:
    """Records the unreadable images of one source; several threads may use it at a time.

    `flags` [examples] is True for every image recorded; an array has the same shape in every
    process, so that they can combine theirs.
    """

    def __init__(self, source: Source, num_processes: int = 1) -> None:
        """Starts with none; each of several processes reads a share of the source."""
        self._source = source
        self._enough = min(_ENOUGH, len(source) // (4 * num_processes))
        self.flags = np.zeros(len(source), bool)
        self._seen = np.zeros(len(source), bool)

    def saw(self, index: int) -> None:
        """Records that an image was asked for.

        `note` compares with the number of these, since a process may read only a share of them.
        """
        self._seen[index] = True

    def note(self, index: int, error: Exception) -> None:
        """Records an unreadable image, and logs a warning the first time.

        Raises:
          ValueError: more than half of the images asked for are unreadable, and at least ten are.
            Then the disk is likely to be at fault, not the images. Until 200 images were asked for,
            or a quarter of this process's, nothing is concluded: names are in order, so damaged
            images may be next to one another.
        """
        if self.flags[index]:
            return
        self.flags[index] = True
        number, total = int(self.flags.sum()), int(self._seen.sum())
        logging.warning("skipping unreadable image %d (%d so far): %s", index, number, error)
        if total >= self._enough and number >= _FEW and 2 * number > total:
            raise ValueError(
                f"{number} of {total} images so far cannot be read; data.on_error='skip': expected "
                f"at least half of them intact. Check that the disk is mounted. The last: {error}"
            ) from error

    def names(self, flags: Bool[np.ndarray, " examples"]) -> list[str]:
        """Returns the names of the images that are flagged, in this process or in any."""
        return [self._source.names[index] for index in np.flatnonzero(flags).tolist()]
