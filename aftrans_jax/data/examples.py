"""The types that all of data/ shares: an example, the source of a split's examples, a data set."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

NO_BOX = np.full(4, np.nan, np.float32)


class Example(NamedTuple):
    """One labelled image.

    `image` is RGB, `label` counts from 0, `box` is (top, left, bottom, right), half-open, in pixels
    of this image; it is four times NaN where there is no annotation, so that batches of all data
    sets have the same arrays.
    """

    image: UInt8[np.ndarray, "height width 3"]
    label: int
    box: Float32[np.ndarray, "4"] = NO_BOX


@runtime_checkable  # so that beartype can check it
class Source(Protocol):
    """Random access to the examples of one split; several threads may read it at a time.

    `names` has the name of each example for reports and error messages; `labels` has the class of
    each, in [0, number of classes), known without decoding an image.
    """

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def labels(self) -> Sequence[int]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


@runtime_checkable
class Sized(Protocol):
    """A source that can decode large images at a reduced scale."""

    def at(self, size: int | None) -> Source:
        """Returns the same examples, for squares of this side in pixels; None: with all pixels."""
        ...


def at_size(source: Source, size: int | None) -> Source:
    """Returns a source whose large images may already be squares with this side in pixels.

    With None they are as photographed, in their own shape.
    """
    return source.at(size) if isinstance(source, Sized) else source


class Dataset(NamedTuple):
    """The splits of a data set; `class_names[label]` is the name of a class.

    `validation` holds the examples that were taken out of the official training split to choose
    checkpoints by, None where there are none. The number of classes is that of `class_names`; no
    configuration sets it.
    """

    name: str
    train: Source
    test: Source
    class_names: tuple[str, ...]
    validation: Source | None = None

    def splits(self) -> dict[str, Source]:
        """Returns the splits by name: "train", "validation" if there is one, and "test"."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: source for name, source in splits.items() if source is not None}
