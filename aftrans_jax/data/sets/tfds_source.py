"""One split of a set that tensorflow-datasets has prepared: records, read in any order."""

import contextlib
import copy
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from aftrans_jax.data.decoding.decode import MAX_PIXELS, decode_photo
from aftrans_jax.data.examples import Example
from aftrans_jax.data.sets.annotations import NO_BOX

_Record = Mapping[str, Any]  # features by name; the image as the bytes of its file

_NAME_FEATURES = ("image/filename", "image/id", "id", "file_name")


@dataclass(frozen=True)
class TfdsSource:
    """One split of a prepared set, each image decoded when it is read.

    The first use of `names` or `labels` reads every record of the split, once for both. Where
    several records have the same name, their numbers are added. Images are decoded by
    `decode_photo`, so a file has the same pixels as with other readers.
    """

    records: Sequence[Any]
    folder: Path  # for error messages, as the split
    split: str
    num_classes: int
    max_pixels: int = MAX_PIXELS
    resize_size: int | None = None

    @property
    def names(self) -> Sequence[str]:
        return self._names

    @property
    def labels(self) -> Sequence[int]:
        return self._labels

    @cached_property
    def _names(self) -> tuple[str, ...]:
        times = Counter(name for name, _ in self._listed)
        return tuple(
            name if times[name] == 1 else f"{name} ({self._number(index)})"
            for index, (name, _) in enumerate(self._listed)
        )

    @cached_property
    def _labels(self) -> tuple[int, ...]:
        for _, label in self._listed:
            if isinstance(label, ValueError):
                raise label
        return tuple(label for _, label in self._listed if isinstance(label, int))

    @cached_property
    def _listed(self) -> tuple[tuple[str, int | ValueError], ...]:
        """Name and class of every record, or why it has none; its number where it is damaged."""
        listed: list[tuple[str, int | ValueError]] = []
        for index in range(len(self)):
            name = self._number(index)
            try:
                record = self.record(index)
                name = self._name(record, index)
                listed.append((name, self._label(record, index)))
            except ValueError as error:
                listed.append((name, error))
        return tuple(listed)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Example:
        index = range(len(self))[index]
        record = self.record(index)
        label = self._label(record, index)
        name = f"{self._name(record, index)} of {self.folder}"
        sizes = {"max_pixels": self.max_pixels, "resize_size": self.resize_size}
        photo = decode_photo(record["image"], name, **sizes)
        sides = photo.height, photo.width
        stored = sides if photo.orientation < 5 else sides[::-1]  # 5 to 8: stored on its side
        return Example(photo.pixels, label, photo.place(_box(record, *stored)))

    def at(self, size: int | None) -> "TfdsSource":
        """Returns the same examples, for squares of this side in pixels; None: with all pixels."""
        other = copy.copy(self)  # keeps the names, for which all records were read
        object.__setattr__(other, "resize_size", size)
        return other

    def record(self, index: int) -> _Record:
        """Returns a record as it is stored, with its image not decoded.

        Raises:
          ValueError: its file is damaged, by array_record's checksums.
        """
        try:
            return self.records[index]
        except Exception as error:  # RuntimeError or IndexError, by array_record's version
            raise ValueError(
                f"record {self._number(index)} of {self.folder} cannot be read: {error}: "
                "expected the files that tensorflow-datasets wrote. Delete the folder and prepare "
                "the set again with launch/prepare_tfds.sh."
            ) from error

    def readable(self) -> Iterator[_Record]:
        """Yields the records that can be read, not decoded."""
        for index in range(len(self)):
            with contextlib.suppress(ValueError):
                yield self.record(index)

    def first(self) -> _Record:
        """Returns the first record that can be read.

        Raises:
          ValueError: no record can be read.
        """
        return next(self.readable(), None) or self.record(0)

    def label(self, index: int) -> int:
        """Returns the class of a record.

        Raises:
          ValueError: the record is damaged, or not labelled.
        """
        return self._label(self.record(index), index)

    def _name(self, record: _Record, index: int) -> str:
        for feature in _NAME_FEATURES:
            if feature in record:
                name = record[feature]
                return name.decode() if isinstance(name, bytes) else str(name)
        return self._number(index)

    def _number(self, index: int) -> str:
        return f"{self.split}/{index:05d}"

    def _label(self, record: _Record, index: int) -> int:
        label = int(record["label"])
        if not 0 <= label < self.num_classes:
            raise ValueError(
                f"record {self._number(index)} of {self.folder} has label {label}: expected "
                f"one in [0, {self.num_classes}). Choose another set: this one is not labelled."
            )
        return label


def _box(record: _Record, height: int, width: int) -> Float32[np.ndarray, "4"]:
    """Returns the first box, stored as fractions of the sides, in pixels; NaN without a box."""
    stored = record["bbox"] if "bbox" in record else record.get("objects", {}).get("bbox", ())
    box = np.reshape([*np.ravel(stored), *NO_BOX], (-1, 4))[0]
    return (box * [height, width, height, width]).astype(np.float32)
