"""What the page of `report.explanation` shows: the regions of photos, and how they are found."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aftrans_jax.data.decoding.decode import decode_image
from aftrans_jax.data.loading.transforms import seen_part
from aftrans_jax.inference.classifier import Classifier
from aftrans_jax.inference.options import BATCH_SIZE, filled
from aftrans_jax.inference.prediction import heading
from aftrans_jax.inference.preprocessing import Prepared, prepare, why_unread
from aftrans_jax.inference.trained_model import Trained
from aftrans_jax.model.aftrans import AFTrans
from aftrans_jax.report.explanation import Answer, Explained, Rules, write_explanation

PHOTO_PX = 512  # longer side of the photos on the page
NUM_CLASSES = 3  # named for each head


def rules(trained: Trained) -> Rules:
    """Returns the rules by which a trained model gets from its layers' class rows to a box.

    Raises:
      ValueError: it is not AFTrans: there are no gated layers to show.
    """
    model = trained.model
    if not isinstance(model, AFTrans):
        raise ValueError(
            f"model.name={trained.name!r} has no gated layers from which a region is found: "
            "explain needs a run of model.name='aftrans'"
        )
    geometry = model.vit.geometry
    side = model.vit.variant.patches_per_side(geometry.image_size, geometry.stride)
    return Rules(
        layers=tuple(sorted(model.layers)) or tuple(range(1, model.vit.variant.layers + 1)),
        keep_ratio=model.keep_ratio,
        selection=model.selection,
        method=model.region_method,
        min_box=model.min_box,
        rows=side,
        cols=side,
        image_size=geometry.image_size,
        patch_size=geometry.patch_size,
        stride=geometry.stride,
        source_size=trained.sizes["image_size"],
        local_size=model.local_size,
    )


def explain(
    trained: Trained,
    paths: Sequence[str],
    out: Path,
    *,
    title: str,
    batch_size: int,
    fail: Callable[[str], None],
    done: Callable[[], object],
) -> int:
    """Writes the page on all photos that can be read; returns how many these are.

    Nothing is written where there are none.

    Args:
      trained: an AFTrans and its parameters.
      paths: paths of the photos, shown in this order.
      out: path of the page.
      title: title of the page.
      batch_size: photos that the devices take at a time.
      fail: called with one line for each photo that cannot be read.
      done: called after each photo.

    Raises:
      ValueError: the model is not AFTrans.
    """
    model_rules = rules(trained)
    photos = []
    for photo in explanations(trained, paths, batch_size):
        if isinstance(photo, Explained):
            photos.append(photo)
        else:
            fail(f"error: {photo}")
        done()
    if photos:
        said = heading(trained, trained.head)
        write_explanation(out, title=title, said=said, rules=model_rules, photos=photos)
    return len(photos)


def explanations(
    trained: Trained, paths: Sequence[str], batch_size: int = BATCH_SIZE
) -> Iterator[Explained | str]:
    """Yields what the page shows of each photo, in order, or why it cannot be read."""
    model = Classifier(trained, wanted=("rows", "relevance", "mask", "box"))
    load = partial(_load, sizes=trained.sizes, max_pixels=trained.max_pixels)
    size = filled(len(paths), batch_size)
    folder = _common_folder(paths)
    for (path, found), row in model.in_batches(paths, load, size):
        path = str(path)
        if isinstance(found, Exception):
            yield why_unread(path, found)
        else:
            yield _explained(trained, os.path.relpath(path, folder), found, row)


def _common_folder(paths: Sequence[str]) -> str:
    """Returns the deepest folder that all photos are below, by their paths as they are written."""
    folders = {os.path.dirname(os.path.abspath(path)) for path in paths}
    return os.path.commonpath(folders) if folders else os.curdir


def _load(path: str, sizes: Mapping[str, int], max_pixels: int) -> Prepared:
    """Returns a photo as the model takes it, and as the page shows it."""
    found = prepare(path, sizes, max_pixels=max_pixels)
    pixels = decode_image(path, max_pixels=max_pixels)  # `prepare` decodes large ones as squares
    return found._replace(photo=seen_part(pixels, sizes, PHOTO_PX))


def _explained(trained: Trained, name: str, found: Prepared, row: Mapping[str, Any]) -> Explained:
    assert found.photo is not None
    answers = []
    for head, probabilities in row["probabilities"].items():
        best = np.argsort(-probabilities, kind="stable")[:NUM_CLASSES]
        likeliest = [(trained.class_names[label], float(probabilities[label])) for label in best]
        answers.append(Answer(head, head == trained.head, likeliest))
    return Explained(
        name=name,
        photo=found.photo,
        gate=row["rows"].gate,
        layer_rows=row["rows"].layer_rows,
        relevance=row["relevance"],
        mask=row["mask"],
        box=tuple(row["box"].tolist()),
        answers=answers,
    )
