"""Images that could not be read, where the configuration lets a run go on without them."""

import numpy as np
from absl import logging
from jaxtyping import Bool

from aftrans_jax.data.examples import Source

_FEW = 10  # unreadable images that say nothing about the disk


class Skipped:
    """Notes the unreadable images of one source; from several threads.

    `flags[index]` is True once an image has been noted.

    Choice: flags and no list, so that several processes can put theirs together.
    """

    def __init__(self, source: Source) -> None:
        """Starts with none."""
        self._source = source
        self.flags = np.zeros(len(source), bool)
        self._seen = np.zeros(len(source), bool)

    def saw(self, index: int) -> None:
        """Notes that an image was asked for.

        Choice: one of several processes sees its share only, of which too much may be unreadable.
        """
        self._seen[index] = True

    def note(self, index: int, error: Exception) -> None:
        """Notes an unreadable image, with a warning when it is the first time.

        Raises:
          ValueError: more than half of the images seen are unreadable, and that is ten or more.

        Choice: a disk that went away must not pass for a set of damaged photos.
        """
        if self.flags[index]:
            return
        self.flags[index] = True
        number, total = int(self.flags.sum()), int(self._seen.sum())
        logging.warning("skipping image %d of now %d unreadable ones: %s", index, number, error)
        if 2 * number > total and number >= _FEW:
            raise ValueError(
                f"{number} of {total} images so far cannot be read; data.on_error='skip': expected "
                f"at least half of them intact. Look whether the disk is there. The last: {error}"
            ) from error

    def names(self, flags: Bool[np.ndarray, " examples"]) -> list[str]:
        """Returns the names of the images that are flagged, by this process or by any.

        Choice: what a user has to replace.
        """
        return [self._source.names[index] for index in np.flatnonzero(flags).tolist()]
