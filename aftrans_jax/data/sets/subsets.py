"""Sources made from another one: some of its examples, or other labels; and their table."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from aftrans_jax.data.examples import Example, Source, at_size
from aftrans_jax.data.sets.photos import PhotoSource, PhotoTable


@dataclass(frozen=True)
class Subset:
    """Some examples of a source, in the order of `indices`; images are not copied."""

    source: Source
    indices: tuple[int, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(self.source.names[index] for index in self.indices)

    @cached_property
    def labels(self) -> tuple[int, ...]:
        return tuple(self.source.labels[index] for index in self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Example:
        return self.source[self.indices[index]]

    def at(self, size: int | None) -> "Subset":
        """Returns the same examples, for squares of this side in pixels; None: with all pixels."""
        return replace(self, source=at_size(self.source, size))


@dataclass(frozen=True)
class Relabelled:
    """A source whose labels are translated; `new_labels[label]` is the new one."""

    source: Source
    new_labels: tuple[int, ...]

    @property
    def names(self) -> Sequence[str]:
        return self.source.names

    @cached_property
    def labels(self) -> tuple[int, ...]:
        return tuple(self.new_labels[label] for label in self.source.labels)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        example = self.source[index]
        return example._replace(label=self.new_labels[example.label])

    def at(self, size: int | None) -> "Relabelled":
        """Returns the same examples, for squares of this side in pixels; None: with all pixels."""
        return replace(self, source=at_size(self.source, size))


def photo_table(source: Source) -> PhotoTable | None:
    """Returns the table that a source reads photos from; None for drawn images."""
    while (inner := getattr(source, "source", None)) is not None:  # a cache, or one of the above
        source = inner
    return source.table if isinstance(source, PhotoSource) else None
