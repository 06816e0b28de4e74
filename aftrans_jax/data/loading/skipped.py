"""The record of images that could not be read, for runs that go on without them."""

import threading

import numpy as np
from absl import logging
from jaxtyping import Bool

from aftrans_jax.data.examples import Source

_FEW = 10  # fewer unreadable images do not indicate a disk error
_ENOUGH = 200  # images requested before a failed disk can be told from a damaged folder
_RECENT = 2 * _ENOUGH  # images requested last: 200 damaged ones are half of them


class Skipped:
    """The unreadable images of one source; several threads may record them at a time.

    `flags` [examples] is True for every image recorded; an array has the same shape in every
    process, so that they can combine theirs.
    """

    def __init__(self, source: Source, num_processes: int = 1) -> None:
        """Starts with no images; each of several processes reads a share of the source."""
        self._source = source
        self._enough = min(_ENOUGH, len(source) // (4 * num_processes))
        self.flags = np.zeros(len(source), bool)
        # By image, in the order of requests: whether it was unreadable.
        self._recent: dict[int, bool] = {}
        self._lock = threading.Lock()

    def saw(self, index: int) -> None:
        """Records that an image was requested, for `note` to compare with."""
        with self._lock:
            self._recent.pop(index, None)
            self._recent[index] = False
            if len(self._recent) > _RECENT:
                del self._recent[next(iter(self._recent))]

    def note(self, index: int, error: Exception) -> None:
        """Records an unreadable image, and logs a warning the first time.

        Raises:
          ValueError: of the last 400 images that this process requested, more than half are
            unreadable, and at least ten are. Then the disk is likely to be at fault, not the
            images. Until 200 images were requested, or a quarter of this process's, there is no
            error: names are in order, so damaged images may be next to one another.
        """
        with self._lock:
            is_known = bool(self.flags[index])
            self.flags[index] = True
            self._recent[index] = True
            number = sum(self._recent.values())
            total = len(self._recent)
        if not is_known:
            so_far = int(self.flags.sum())
            logging.warning("skipping unreadable image %d (%d so far): %s", index, so_far, error)
        if total >= self._enough and number >= _FEW and 2 * number > total:
            raise ValueError(
                f"{number} of the last {total} images cannot be read; data.on_error='skip': "
                "expected at least half of them intact. Check that the disk is mounted. The last: "
                f"{error}"
            ) from error

    def names(self, flags: Bool[np.ndarray, " examples"]) -> list[str]:
        """Returns the names of the images flagged by this process or any other."""
        return [self._source.names[index] for index in np.flatnonzero(flags).tolist()]
