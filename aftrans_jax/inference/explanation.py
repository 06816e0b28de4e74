"""Where a trained model looks in photos, and why: what the page of `report.explanation` shows."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import numpy as np
from jaxtyping import Array

from aftrans_jax.data.loading.decode import decode_image
from aftrans_jax.data.loading.transforms import seen_part
from aftrans_jax.inference.prediction import heading
from aftrans_jax.inference.preprocessing import prepare, why_unread
from aftrans_jax.inference.trained_model import Trained
from aftrans_jax.model.aftrans import AFTrans
from aftrans_jax.model.outputs import Images, ModelOutput
from aftrans_jax.model.views import mirrored
from aftrans_jax.report.explanation import Answer, Explained, Rules, write_explanation
from aftrans_jax.report.pictures import Pixels
from aftrans_jax.training.memory import needing_less
from aftrans_jax.training.metrics import prediction_logits
from aftrans_jax.training.xla_options import xla_options

BATCH_SIZE = 8
PHOTO_PX = 512  # longer side of the photos on the page
NUM_CLASSES = 3  # named for each head
_NUM_THREADS = 4


class _Loaded(NamedTuple):
    path: str
    photo: Pixels  # at its aspect ratio
    image: Pixels  # as the model takes it


def rules(trained: Trained) -> Rules:
    """Returns how a trained model comes from its layers' class rows to a box.

    Raises:
      ValueError: it is not AFTrans: there are no gated layers to show.
    """
    model = trained.model
    if not isinstance(model, AFTrans):
        raise ValueError(
            f"model.name={trained.name!r} has no gated layers from which a region is found: "
            "explain needs a run of model.name='aftrans'"
        )
    located = cast(partial, model.locate).keywords
    geometry = located["geometry"]
    side = model.vit.variant.patches_per_side(geometry.image_size, geometry.stride)
    return Rules(
        layers=tuple(sorted(model.layers)) or tuple(range(1, model.vit.variant.layers + 1)),
        keep_ratio=model.keep_ratio,
        selection=model.selection,
        method=located["method"],
        min_box=located["min_box"],
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
    fail: Callable[[str], None],
    done: Callable[[], object],
) -> int:
    """Writes the page on photos, without those that cannot be read; returns how many it has.

    Nothing is written where there are none.

    Args:
      trained: an AFTrans and its parameters.
      paths: of the photos, shown in this order.
      out: the page.
      title: of the page.
      fail: told of each photo that cannot be read, in a line.
      done: called after each photo.

    Raises:
      ValueError: the model is not AFTrans.
    """
    model_rules = rules(trained)
    photos = []
    for photo in explanations(trained, paths):
        if isinstance(photo, Explained):
            photos.append(photo)
        else:
            fail(f"error: {photo}")
        done()
    if photos:
        said = heading(trained, trained.predict_from)
        write_explanation(out, title=title, said=said, rules=model_rules, photos=photos)
    return len(photos)


def explanations(trained: Trained, paths: Sequence[str]) -> Iterator[Explained | str]:
    """Yields what an AFTrans makes of each photo, in order, or why it cannot be read."""
    assert isinstance(trained.model, AFTrans)
    load = partial(_load, sizes=trained.sizes, max_pixels=trained.max_pixels)
    params, options = jax.device_put(trained.params), xla_options(jax.default_backend())
    forward = jax.jit(partial(_forward, trained), compiler_options=options)
    side = trained.sizes["image_size"]
    size = min(BATCH_SIZE, len(paths))  # of every batch, so that one program is compiled
    lower = needing_less("give fewer photos at a time, or take a smaller model")
    with ThreadPoolExecutor(_NUM_THREADS) as pool, lower:
        for start in range(0, len(paths), size):
            photos = list(pool.map(load, paths[start : start + size]))
            readable = [photo for photo in photos if isinstance(photo, _Loaded)]
            batch, found = np.zeros((size, side, side, 3), np.uint8), {}
            for row, photo in zip(batch, readable, strict=False):
                row[:] = photo.image
            if readable:
                found = jax.device_get(forward(params, batch))
            rows = (jax.tree.map(lambda x, i=i: x[i], found) for i in range(len(readable)))
            for photo in photos:
                yield photo if isinstance(photo, str) else _explained(trained, photo, next(rows))


def _load(path: str, sizes: Mapping[str, int], max_pixels: int) -> _Loaded | str:
    """Returns a photo, or why it cannot be read."""
    try:
        image = prepare(path, sizes, max_pixels=max_pixels).image
        pixels = decode_image(path, max_pixels=max_pixels)  # a large one is prepared as a square
        return _Loaded(path, seen_part(pixels, sizes, PHOTO_PX), image)
    except (OSError, ValueError, MemoryError) as error:
        return why_unread(path, error)


def _forward(trained: Trained, params: Mapping[str, Any], images: Array) -> dict[str, Any]:
    def apply(images: Images) -> ModelOutput:
        return cast(ModelOutput, trained.model.apply({"params": params}, images, train=False))

    output = (mirrored(apply) if trained.mirror else apply)(images)
    shares = {name: jax.nn.softmax(x) for name, x in prediction_logits(output.logits).items()}
    assert output.region is not None
    return {"shares": shares, "region": output.region._asdict()}


def _explained(trained: Trained, loaded: _Loaded, found: Mapping[str, Any]) -> Explained:
    region = found["region"]
    answers = []
    for head, shares in found["shares"].items():
        best = np.argsort(-shares, kind="stable")[:NUM_CLASSES]
        likeliest = [(trained.class_names[label], float(shares[label])) for label in best]
        answers.append(Answer(head, head == trained.predict_from, likeliest))
    return Explained(
        name=os.path.basename(loaded.path),
        photo=loaded.photo,
        gate=region["rows"].gate,
        layer_rows=region["rows"].layer_rows,
        relevance=region["relevance"],
        mask=region["mask"],
        box=tuple(region["box"].tolist()),
        answers=answers,
    )
