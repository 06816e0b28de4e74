"""Test images: the same ones with every setting's boxes, and those where settings disagree."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from absl import logging
from jaxtyping import Num

from aftrans_jax.data.examples import Source, at_size
from aftrans_jax.experiment.classes import Evaluated
from aftrans_jax.experiment.data import image_sizes, load_dataset
from aftrans_jax.report.comparison import (
    ComparedImage,
    Disagreement,
    DisagreementGroup,
    SettingPrediction,
)
from aftrans_jax.report.gallery import PredictedClass
from aftrans_jax.report.photos import EncodedPhoto, Rectangle, encoded_photo
from aftrans_jax.report.pictures import Picture
from aftrans_jax.run.report_images import seen
from aftrans_jax.settings import configured
from aftrans_jax.studies.finished_runs import FinishedRun, TableRow
from aftrans_jax.studies.tables import RowFigures
from aftrans_jax.workdir.class_names import run_classes

NUM_SHOWN = 4  # images for each row and direction
NUM_COMPARED = 8  # images that are shown for every setting
PHOTO_PX = 448  # longer side of the photos on the page

Edges = Num[np.ndarray, "4"]  # top, left, bottom, right


class _Photos(NamedTuple):
    """The test photos of a run, in their own shapes.

    Attributes:
      test: the photos.
      places: index of each photo in `test`, by name.
      sizes: sizes that the run's model sees them at.
    """

    test: Source
    places: Mapping[str, int]
    sizes: Mapping[str, int]

    def encoded(self, name: str) -> tuple[EncodedPhoto, Edges]:
        """Returns a photo for the page, and its annotated box as fractions of its sides.

        Raises:
          ValueError, OSError: it cannot be read, or is no longer in the split.
        """
        if name not in self.places:
            raise ValueError(f"{name!r} was tested and is not among the test images any more")
        pixels, annotated = seen(self.test[self.places[name]], self.sizes, PHOTO_PX)
        return encoded_photo(Picture(name, pixels), PHOTO_PX), annotated


def disagreements(
    table: Sequence[RowFigures], base: TableRow | None
) -> tuple[list[DisagreementGroup], str]:
    """Returns for each row the images that it gets right and the base wrong, and the reverse.

    With several seeds, those that it gets right more often than the base; images on which most
    seeds agree come first, then in the order of the split.

    Args:
      table: figures of the rows.
      base: row that they are compared with.

    Returns:
      The groups, and the reason where there are none.
    """
    pairs = [(entry.row, entry.pairing) for entry in table if entry.pairing is not None]
    if base is None or not pairs:
        return [], "There is nothing to compare yet."
    try:
        photos = _photos(base.runs[0])
    except (OSError, ValueError) as error:  # such as photos that were moved
        return [], f"The images cannot be read: {error}"
    groups = []
    encoded = {}
    for row, pairing in pairs:
        gain = pairing.ours.mean(axis=0) - pairing.base.mean(axis=0)
        for sign, right, wrong in ((1, row, base), (-1, base, row)):
            chosen = [i for i in np.argsort(-sign * gain, kind="stable") if sign * gain[i] > 0]
            if len(pairing.ours) > 1:
                who = f"{right.name} right more often than {wrong.name}"
            else:
                who = f"{right.name} right, {wrong.name} wrong"
            names = [pairing.names[int(i)] for i in chosen[:NUM_SHOWN]]
            try:
                encoded |= {x: photos.encoded(x)[0] for x in names if x not in encoded}
            except (OSError, ValueError) as error:
                return [], f"The images cannot be read: {error}"
            cards = [Disagreement(x, encoded[x], _captions(x, (row, base))) for x in names]
            if cards:
                title = f"{who} ({len(chosen)} of {len(gain)})"
                groups.append(DisagreementGroup(title, cards))
    return groups, "They agree on every image."


def compared_images(rows: Sequence[TableRow]) -> list[ComparedImage]:
    """Returns evenly spaced test images with each setting's box and predictions, of its first seed.

    Args:
      rows: rows of a table. The images are among those that all their first runs tested, and are
        shown as the run with the largest photos sees them.

    Returns:
      An empty list where no setting has boxes, or the images cannot be read.
    """
    by_setting: dict[str, list[tuple[int, TableRow]]] = {}
    for series, row in enumerate(rows):
        by_setting.setdefault(row.setting, []).append((series, row))
    runs = [own[0][1].runs[0] for own in by_setting.values()]
    if all(run.predictions.boxes is None for run in runs):
        return []
    shared = set(runs[0].predictions.names).intersection(*(x.predictions.names for x in runs))
    names = [name for name in runs[0].predictions.names if name in shared]
    if not names:
        return []
    places = np.unique(np.linspace(0, len(names) - 1, NUM_COMPARED).round().astype(int))
    chosen = [names[place] for place in places]
    sharpest = max(runs, key=lambda run: run.settings["data.source_size"])
    try:
        photos = _photos(sharpest)
        encoded = [photos.encoded(name) for name in chosen]
    except (OSError, ValueError):  # such as photos that were moved
        return []
    settings = list(by_setting.values())
    return [
        _compared_image(name, photo, annotated, photos.sizes, settings)
        for name, (photo, annotated) in zip(chosen, encoded, strict=True)
    ]


def _compared_image(
    name: str,
    photo: EncodedPhoto,
    annotated: Edges,
    sizes: Mapping[str, int],
    settings: Sequence[Sequence[tuple[int, TableRow]]],
) -> ComparedImage:
    """Returns an image with the predictions of settings, each given by its numbered rows."""
    predictions = []
    true = ""
    for own in settings:
        series, row = own[0]
        run = row.runs[0]
        tested = run.predictions
        place = run.predictions.names.index(name)
        true = tested.true[place]
        box = None
        if tested.boxes is not None:
            run_sizes = image_sizes(configured(run.settings))
            box = _rectangle(_carried(tested.boxes[place], run_sizes, sizes), photo)
        classes = [
            PredictedClass(other.head, named := tested.predicted[other.head][place], named == true)
            for _, other in own
        ]
        predictions.append(SettingPrediction(series, row.setting, box, classes))
    box = None if np.isnan(annotated).any() else _rectangle(annotated, photo)
    return ComparedImage(name, true, photo, box, predictions)


def _carried(box: Edges, old: Mapping[str, int], new: Mapping[str, int]) -> Edges:
    """Returns a box in pixels of the old sizes' central crop as fractions of the new sizes' one."""
    offsets = [(sizes["resize_size"] - sizes["image_size"]) // 2 for sizes in (old, new)]
    pixels = (box + offsets[0]) * new["resize_size"] / old["resize_size"] - offsets[1]
    return pixels / new["image_size"]


def _rectangle(shares: Edges, photo: EncodedPhoto) -> Rectangle:
    sides = [photo.height, photo.width, photo.height, photo.width]
    top, left, bottom, right = (round(float(edge), 1) for edge in shares * sides)
    return Rectangle(left, top, round(right - left, 1), round(bottom - top, 1))


def _photos(run: FinishedRun) -> _Photos:
    config = configured(run.settings)
    config.data.cache = "none"
    config.data.validation_fraction = 0.0  # the test split does not depend on it
    classes = run_classes(run.workdir, run.settings, logging.warning)
    dataset, _ = load_dataset(config, Evaluated(classes))
    test = at_size(dataset.test, None)
    places = {name: place for place, name in enumerate(test.names)}
    return _Photos(test, places, image_sizes(config))


def _captions(name: str, rows: Sequence[TableRow]) -> list[tuple[str, str]]:
    """Returns an image's class, and what the runs of each row that tested it predict, as text."""
    captions = []
    true = ""
    for row in rows:
        tested = [run.predictions for run in row.runs if name in run.predictions.names]
        times: Counter[str] = Counter()
        for predictions in tested:
            place = predictions.names.index(name)
            true = predictions.true[place]
            times[predictions.predicted[row.head][place]] += 1
        many = len(tested) > 1
        texts = [f"{named} ({n}x)" if many else named for named, n in times.items()]
        captions.append((row.name, ", ".join(texts)))
    return [("true", true), *captions]
