"""Opens every image of a data set, and tells which are usable.

Two images are the same picture when all their decoded pixels are equal.
"""

import contextlib
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from aftrans_jax.data.decoding.decode import MAX_PIXELS
from aftrans_jax.data.examples import Dataset, Source
from aftrans_jax.data.loading.threads import in_threads
from aftrans_jax.data.names import composed
from aftrans_jax.data.sets.annotations import Annotations
from aftrans_jax.data.sets.files import find_files
from aftrans_jax.data.sets.photos import PhotoSource
from aftrans_jax.data.sets.tfds_source import TfdsSource

UNKNOWN = -1  # label of a record that cannot be read
# Fraction of a photo's side by which a box may extend outside: one of CUB's does, by 32 px of 500.
_BOX_SLACK = 0.1


class ListedImage(NamedTuple):
    """An image as the lists describe it; `split` is "train", "validation" or "test".

    `label` is `UNKNOWN` where only the record has it, and that is damaged.
    """

    split: str
    name: str
    label: int


ListedImages = tuple[ListedImage, ...]


class Diagnosis(NamedTuple):
    """Facts about a data set; `findings` says which of them are problems.

    Images are in the order of the lists, split by split.

    Attributes:
      name: name of the data set.
      splits: names of its splits, train first.
      notes: notes of the readers on the lists, and on files left out of the folder.
      root: folder of the images, None where they are not files.
      class_names: `class_names[label]` names a class.
      official: published numbers of training and test images, None where there are none.
      tiny_px: images with a side below this are tiny.
      listed: all images.
      missing: images without a file.
      missing_remedy: remedy for these as a sentence, "" where images are not files.
      surplus: image files below `root` that no list names, sorted.
      undecodable: images that cannot be decoded.
      error: why the first of `undecodable` cannot be decoded, "" where all can.
      readable: images that can be decoded.
      grey: readable images without any colour, however they are stored.
      tiny: readable images with a side below `tiny_px`.
      twins: groups of readable images that are the same picture.
      guessed: readable images whose files do not state their bit depth.
      guess: how the bit depth of the first of these was guessed, "" where there are none.
      astray: readable images whose box is outside, or extends far outside.
    """

    name: str
    splits: tuple[str, ...]
    notes: tuple[str, ...]
    root: Path | None
    class_names: tuple[str, ...]
    official: tuple[int, int] | None
    tiny_px: int
    listed: ListedImages
    missing: ListedImages
    missing_remedy: str
    surplus: tuple[str, ...]
    undecodable: ListedImages
    error: str
    readable: ListedImages
    grey: ListedImages
    tiny: ListedImages
    twins: tuple[ListedImages, ...]
    guessed: ListedImages
    guess: str
    astray: ListedImages


class _Examined(NamedTuple):
    image: ListedImage
    error: str = ""
    digest: bytes = b""
    is_grey: bool = False
    side_px: int = 0
    guess: str = ""
    is_astray: bool = False


def examine(
    listed: Annotations | Dataset,
    *,
    tiny_px: int,
    num_threads: int,
    max_pixels: int = MAX_PIXELS,
) -> Diagnosis:
    """Opens every listed image, with a progress bar on a terminal, and returns what it found.

    Args:
      listed: lists of a photo set, or a data set whose images are not files.
      tiny_px: images with a side below this count as tiny.
      num_threads: images decoded at the same time, at least 1; no others are held in memory.
      max_pixels: image files with more pixels count as undecodable.
    """
    lists = listed if isinstance(listed, Annotations) else None
    missing, surplus, notes = _on_disk(lists) if lists else (set(), (), ())
    sources = _sources(listed, max_pixels)
    places = [
        (ListedImage(split, name, label), source, index)
        for split, source in sources.items()
        for index, (name, label) in enumerate(zip(source.names, _labels(source), strict=True))
    ]
    present = [place for place in places if place[0].name not in missing]
    limits = {"num_threads": num_threads, "ahead": 4 * num_threads}
    results = in_threads(lambda place: _examined(*place), present, **limits)
    examined = list(tqdm(results, "examining", len(present), leave=False, disable=None))
    readable = [one for one in examined if not one.error]
    return Diagnosis(
        name=listed.name,
        splits=tuple(sources),
        notes=notes,
        root=lists.train.root if lists else None,
        class_names=listed.class_names,
        official=lists.official if lists else None,
        tiny_px=tiny_px,
        listed=tuple(image for image, _, _ in places),
        missing=tuple(image for image, _, _ in places if image.name in missing),
        missing_remedy=lists.missing_remedy if lists else "",
        surplus=surplus,
        undecodable=tuple(one.image for one in examined if one.error),
        error=next((one.error for one in examined if one.error), ""),
        readable=tuple(one.image for one in readable),
        grey=tuple(one.image for one in readable if one.is_grey),
        tiny=tuple(one.image for one in readable if one.side_px < tiny_px),
        twins=_twins(readable),
        guessed=tuple(one.image for one in readable if one.guess),
        guess=next((one.guess for one in readable if one.guess), ""),
        astray=tuple(one.image for one in readable if one.is_astray),
    )


def _sources(listed: Annotations | Dataset, max_pixels: int) -> dict[str, Source]:
    if isinstance(listed, Annotations):
        return {name: PhotoSource(table, max_pixels) for name, table in listed.tables().items()}
    return listed.splits()


def _labels(source: Source) -> Sequence[int]:
    if not isinstance(source, TfdsSource):
        return source.labels
    labels = np.full(len(source), UNKNOWN)
    for index in range(len(source)):
        with contextlib.suppress(ValueError):  # reported when the image is opened
            labels[index] = source.label(index)
    return labels.tolist()


def _on_disk(listed: Annotations) -> tuple[set[str], tuple[str, ...], tuple[str, ...]]:
    """Returns listed images without a file, photos that are not listed, and notes."""
    root = listed.train.root
    tables = listed.tables().values()
    names = {composed(name) for table in tables for name in table.names}
    surplus = []
    notes = listed.notes
    if root.is_dir() and not listed.is_looked_through:
        folders = {name.partition("/")[0] for name in names}
        files = find_files(root, folders)  # a list may be in a folder with many other files
        surplus = [name for name in files.photos if composed(name) not in names]
        notes = (*notes, *files.notes())
    return {name for table in tables for name in table.missing()}, tuple(surplus), notes


def _examined(image: ListedImage, source: Source, index: int) -> _Examined:
    try:
        if isinstance(source, PhotoSource):
            photo = source.photo(index)
            pixels = photo.pixels
            guess = photo.guess
            box = photo.place(source.table.box(index))
        else:
            example = source[index]
            pixels = example.image
            guess = ""
            box = example.box
    except (OSError, ValueError) as error:
        return _Examined(image, str(error) or type(error).__name__)
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    is_grey = all(  # for most coloured images, a few rows are enough to see it
        bool((rows == rows[..., :1]).all()) for rows in (pixels[::64], pixels)
    )
    side_px = min(pixels.shape[:2])
    is_astray = _is_astray(box, pixels.shape)
    return _Examined(image, "", digest.digest(), is_grey, side_px, guess, is_astray)


def _is_astray(box: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Returns whether a box misses an image, or extends too far outside; a box of NaN does not."""
    sides = np.array(shape[:2])
    slack = _BOX_SLACK * sides
    misses = (box[:2] >= sides) | (box[2:] <= 0)
    return bool(np.any(misses | (box[:2] < -slack) | (box[2:] > sides + slack)))


def _twins(examined: Sequence[_Examined]) -> tuple[ListedImages, ...]:
    groups = defaultdict(list)
    for one in examined:
        groups[one.digest].append(one.image)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def clean(diagnosis: Diagnosis) -> ListedImages:
    """Returns the images to use: readable, no picture twice in train or in two splits.

    A picture stays in test, else in validation, else in train. A picture that train has under two
    labels is left out of train altogether; images of a class that train then lacks are left out,
    too. Test keeps all others, so that scores on it stay comparable.
    """
    left_out = set()
    for group in diagnosis.twins:
        train = [image for image in group if image.split == "train"]
        is_sound = len(train) == len(group) and len({image.label for image in train}) == 1
        left_out.update(train[1:] if is_sound else train)
        if any(image.split == "test" for image in group):
            left_out.update(image for image in group if image.split == "validation")
    kept = [image for image in diagnosis.readable if image not in left_out]
    labels = {image.label for image in kept if image.split == "train"}
    return tuple(image for image in kept if image.label in labels)
