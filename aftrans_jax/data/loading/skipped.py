"""The record of images that could not be read, for runs that go on without them."""

import numpy as np
from absl import logging
from jaxtyping import Bool

from aftrans_jax.data.examples import Source

_FEW = 10  # fewer unreadable images say nothing about the disk


class Skipped:
    """Records the unreadable images of one source; several threads may use it at a time.

    `flags` [examples] is True for every image recorded; an array has the same shape in every
    process, so that they can combine theirs.
    """

    def __init__(self, source: Source) -> None:
        """Starts with none."""
        self._source = source
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
            Then the disk is likely to be at fault, not the images.
        """
        if self.flags[index]:
            return
        self.flags[index] = True
        number, total = int(self.flags.sum()), int(self._seen.sum())
        logging.warning("skipping unreadable image %d (%d so far): %s", index, number, error)
        if 2 * number > total and number >= _FEW:
            raise ValueError(
                f"{number} of {total} images so far cannot be read; data.on_error='skip': expected "
                f"at least half of them intact. Check that the disk is mounted. The last: {error}"
            ) from error

    def names(self, flags: Bool[np.ndarray, " examples"]) -> list[str]:
        """Returns the names of the images that are flagged, in this process or in any."""
        return [self._source.names[index] for index in np.flatnonzero(flags).tolist()]
