"""What all of data/ speaks: an example, random access to the examples of a split, a data set."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8


class Example(NamedTuple):
    """One labelled image.

    `image` is RGB, `label` counts from 0, `box` is (top, left, bottom, right), half-open, in pixels
    of this image, four times NaN where nothing is annotated.

    Choice: a box is always there, so that batches have one shape for every data set.
    """

    image: UInt8[np.ndarray, "height width 3"]
    label: int
    box: Float32[np.ndarray, "4"]


@runtime_checkable  # so that beartype can check it
class Source(Protocol):
    """Random access to the examples of one split; reading it from several threads is safe.

    `names` has one entry an example, by which reports and error messages call it; `labels` has the
    class of each, in [0, number of classes), known without decoding an image.

    Choice: what grain reads, plus names; drawn and photographed sets are the same to the loader.
    """

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def labels(self) -> Sequence[int]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


class Dataset(NamedTuple):
    """The splits of a data set; `class_names[label]` is the name of a class.

    `validation` holds the examples that were taken out of the official training split to choose
    checkpoints by, None where none were.

    Choice: the number of classes comes from here, never from a config.
    """

    name: str
    train: Source
    test: Source
    class_names: tuple[str, ...]
    validation: Source | None = None

    def splits(self) -> dict[str, Source]:
        """Returns the splits that there are, by name.

        Choice: a set without a hold-out has no third split, rather than an empty one.
        """
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: source for name, source in splits.items() if source is not None}
