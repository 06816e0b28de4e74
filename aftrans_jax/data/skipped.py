"""Images that could not be read, where the configuration lets a run go on without them."""

import numpy as np
from absl import logging
from jaxtyping import Bool

from aftrans_jax.data.examples import Source


class Skipped:
    """Notes the unreadable images of one source; from several threads.

    `flags[index]` is True once an image has been noted.

    Choice: flags and no list, so that several processes can put theirs together.
    """

    def __init__(self, source: Source) -> None:
        """Starts with none."""
        self._source = source
        self.flags = np.zeros(len(source), bool)

    def note(self, index: int, error: Exception) -> None:
        """Notes an image, with a warning when it is the first time.

        Raises:
          ValueError: more than half of the images are unreadable.

        Choice: a disk that went away must not pass for a set of damaged photos.
        """
        if self.flags[index]:
            return
        self.flags[index] = True
        number, total = int(self.flags.sum()), len(self.flags)
        logging.warning("skipping image %d of now %d unreadable ones: %s", index, number, error)
        if 2 * number > total:
            raise ValueError(
                f"{number} of {total} images cannot be read; data.on_error='skip': expected at "
                f"least half of them intact. Look whether the disk is there. The last: {error}"
            ) from error

    def names(self, flags: Bool[np.ndarray, " examples"]) -> list[str]:
        """Returns the names of the images that are flagged, by this process or by any.

        Choice: what a user has to replace.
        """
        return [self._source.names[index] for index in np.flatnonzero(flags).tolist()]
