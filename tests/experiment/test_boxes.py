"""Whether a set has annotated boxes, by its lists or by the first image that can be read."""

from pathlib import Path

import numpy as np
import pytest

from aftrans_jax.data.examples import Dataset, Example
from aftrans_jax.data.loading.cache import ResizedCache
from aftrans_jax.data.sets.photos import PhotoSource, PhotoTable
from aftrans_jax.data.sets.subsets import Subset
from aftrans_jax.experiment.classes import match_classes
from aftrans_jax.experiment.data import check_boxes, has_boxes

BOX, NONE = (1.0, 2.0, 6.0, 7.0), (np.nan,) * 4


class Drawn:
    """Examples of which some cannot be read; `boxes` has None for those."""

    def __init__(self, *boxes):
        self.boxes, self.names, self.labels = boxes, [""] * len(boxes), [0] * len(boxes)

    def __len__(self):
        return len(self.boxes)

    def __getitem__(self, index):
        if self.boxes[index] is None:
            raise ValueError(f"record {index} cannot be read")
        return Example(np.zeros((8, 8, 3), np.uint8), 0, np.array(self.boxes[index], np.float32))


def dataset(test):
    return Dataset("birds", test, test, ("gull", "tern"))


def listed(*boxes):
    """Photos that are not there."""
    names = tuple(f"{number}.png" for number in range(len(boxes)))
    table = None if set(boxes) == {NONE} else np.array(boxes, np.float32)
    return PhotoSource(PhotoTable(Path("nowhere"), names, (0,) * len(names), table))


@pytest.mark.parametrize(
    ("boxes", "has"), [([BOX, BOX], True), ([NONE, BOX], True), ([NONE, NONE], False)]
)
def test_lists_tell_whatever_the_first_photo_is(boxes, has):
    photos = listed(*boxes)
    for source in (photos, Subset(photos, (0,)), ResizedCache(Subset(photos, (1, 0)), 4)):
        assert has_boxes(dataset(source)) == has
    assert has_boxes(match_classes(dataset(photos), ["tern", "gull"])) == has


@pytest.mark.parametrize(
    ("boxes", "has"),
    [([BOX], True), ([NONE, BOX], False), ([None, BOX, NONE], True), ([None, NONE], False)],
)
def test_elsewhere_the_first_that_can_be_read_tells(boxes, has):
    assert has_boxes(dataset(Drawn(*boxes))) == has


def test_what_cannot_be_read_at_all_is_no_set_without_boxes():
    with pytest.raises(ValueError, match="record 1 cannot be read"):
        check_boxes(dataset(Drawn(None, None)))
