"""Test images: the same ones with every setting's boxes, and those where settings disagree."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Num

from aftrans_jax.data.examples import Source, at_size
from aftrans_jax.experiment.classes import Evaluated
from aftrans_jax.experiment.data import image_sizes, load_dataset
from aftrans_jax.report.comparison import Answer, Disagreement, Group, Look, Sight
from aftrans_jax.report.photos import Rectangle
from aftrans_jax.report.pictures import Panel, plain_panel
from aftrans_jax.run.report_images import seen
from aftrans_jax.studies.tables import Figures
from aftrans_jax.studies.trials import Line, Trial
from aftrans_jax.workdir.record import configured, read_classes

NUM_SHOWN = 4  # images for each line and direction
NUM_SIGHTS = 8  # images that are shown for every setting
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

    def panel(self, name: str) -> tuple[Panel, Edges]:
        """Returns a photo for the page, and its annotated box as fractions of its sides.

        Raises:
          ValueError, OSError: it cannot be read, or is no longer in the split.
        """
        if name not in self.places:
            raise ValueError(f"{name!r} was tested and is not among the test images any more")
        pixels, annotated = seen(self.test[self.places[name]], self.sizes, PHOTO_PX)
        return plain_panel(pixels), annotated


def disagreements(table: Sequence[Figures], base: Line | None) -> tuple[list[Group], str]:
    """Returns for each line the images that it gets right and the base wrong, and the reverse.

    With several seeds, those that it gets right more often than the base; images on which most
    seeds agree come first, then in the order of the split.

    Args:
      table: figures of the lines.
      base: line that they are compared with.

    Returns:
      The groups, and the reason where there are none.
    """
    pairs = [(row.line, row.pairing) for row in table if row.pairing is not None]
    if base is None or not pairs:
        return [], "There is nothing to compare yet."
    try:
        photos = _photos(base.trials[0])
    except (OSError, ValueError) as error:  # such as photos that were moved
        return [], f"The images cannot be read: {error}"
    groups, panels = [], {}
    for line, pairing in pairs:
        gain = pairing.ours.mean(axis=0) - pairing.base.mean(axis=0)
        for sign, right, wrong in ((1, line, base), (-1, base, line)):
            chosen = [i for i in np.argsort(-sign * gain, kind="stable") if sign * gain[i] > 0]
            if len(pairing.ours) > 1:
                who = f"{right.name} right more often than {wrong.name}"
            else:
                who = f"{right.name} right, {wrong.name} wrong"
            names = [pairing.names[int(i)] for i in chosen[:NUM_SHOWN]]
            try:
                panels |= {name: photos.panel(name)[0] for name in names if name not in panels}
            except (OSError, ValueError) as error:
                return [], f"The images cannot be read: {error}"
            cards = [Disagreement(x, panels[x], _said(x, (line, base))) for x in names]
            if cards:
                groups.append(Group(f"{who} ({len(chosen)} of {len(gain)})", cards))
    return groups, "They agree on every image."


def sights(lines: Sequence[Line]) -> list[Sight]:
    """Returns evenly spaced test images with each row's box and predictions, for its first seed.

    Args:
      lines: lines of a table. The images are among those that all their first runs tested, and are
        shown as the run with the largest photos sees them.

    Returns:
      An empty list where no row has boxes, or the images cannot be read.
    """
    rows: dict[str, list[tuple[int, Line]]] = {}
    for series, line in enumerate(lines):
        rows.setdefault(line.row, []).append((series, line))
    trials = [own[0][1].trials[0] for own in rows.values()]
    if all(trial.predictions.boxes is None for trial in trials):
        return []
    shared = set(trials[0].predictions.names).intersection(*(t.predictions.names for t in trials))
    names = [name for name in trials[0].predictions.names if name in shared]
    if not names:
        return []
    chosen = np.unique(np.linspace(0, len(names) - 1, NUM_SIGHTS).round().astype(int))
    sharpest = max(trials, key=lambda trial: trial.settings["data.source_size"])
    try:
        photos = _photos(sharpest)
        panels = [photos.panel(names[i]) for i in chosen]
    except (OSError, ValueError):  # such as photos that were moved
        return []
    shown = zip(chosen, panels, strict=True)
    return [_sight(names[i], *x, photos.sizes, list(rows.values())) for i, x in shown]


def _sight(
    name: str,
    panel: Panel,
    annotated: Edges,
    sizes: Mapping[str, int],
    rows: Sequence[Sequence[tuple[int, Line]]],
) -> Sight:
    looks, true = [], ""
    for own in rows:
        series, line = own[0]
        trial = line.trials[0]
        said, place = trial.predictions, trial.predictions.names.index(name)
        true, box = said.true[place], None
        if said.boxes is not None:
            given = image_sizes(configured(trial.settings))
            box = _rectangle(_carried(said.boxes[place], given, sizes), panel)
        answers = [
            Answer(other.head, answer := said.predicted[other.head][place], answer == true)
            for _, other in own
        ]
        looks.append(Look(series, line.row, box, answers))
    known = None if np.isnan(annotated).any() else _rectangle(annotated, panel)
    return Sight(name, true, panel, known, looks)


def _carried(box: Edges, given: Mapping[str, int], shown: Mapping[str, int]) -> Edges:
    """Returns a box as fractions of one central crop of a photo, from pixels of another crop."""
    offsets = [(sizes["resize_size"] - sizes["image_size"]) // 2 for sizes in (given, shown)]
    pixels = (box + offsets[0]) * shown["resize_size"] / given["resize_size"] - offsets[1]
    return pixels / shown["image_size"]


def _rectangle(shares: Edges, panel: Panel) -> Rectangle:
    sides = [panel.height, panel.width, panel.height, panel.width]
    top, left, bottom, right = (round(float(edge), 1) for edge in shares * sides)
    return Rectangle(left, top, round(right - left, 1), round(bottom - top, 1))


def _photos(trial: Trial) -> _Photos:
    config = configured(trial.settings)
    config.data.cache = "none"
    config.data.validation_fraction = 0.0  # the test split does not depend on it
    dataset, _ = load_dataset(config, Evaluated(read_classes(trial.workdir)))
    test = at_size(dataset.test, None)
    places = {name: place for place, name in enumerate(test.names)}
    return _Photos(test, places, image_sizes(config))


def _said(name: str, lines: Sequence[Line]) -> list[tuple[str, str]]:
    """Returns an image's class, and the predictions of each line's runs that tested it."""
    said, true = [], ""
    for line in lines:
        tested = [x.predictions for x in line.trials if name in x.predictions.names]
        answers: Counter[str] = Counter()
        for found in tested:
            place = found.names.index(name)
            true = found.true[place]
            answers[found.predicted[line.head][place]] += 1
        many = len(tested) > 1
        listed = [f"{answer} ({n}x)" if many else answer for answer, n in answers.items()]
        said.append((line.name, ", ".join(listed)))
    return [("true", true), *said]
