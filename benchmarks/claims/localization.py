"""The boxes of an untrained gate on real photos, against the annotated birds.

The SACM's kernels are zero, so every gate is 1/2: no seed, no training. A layer "alone" has a gate
of 1 and the others 0. Evenly spaced photos of the test split are resized as in an evaluation. Each
is encoded once; the rest is cheap and repeated for every way. What a box has to beat is the
square of the same area in the middle of the image.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from aftrans_jax.config import Config, base_config
from aftrans_jax.data.examples import Example
from aftrans_jax.data.loading.transforms import test_transform
from aftrans_jax.data.sets.annotations import photo_dataset
from aftrans_jax.data.sets.cub import read_cub
from aftrans_jax.experiment.model import build_model, initial_params
from aftrans_jax.model.class_row import Summary, class_row_descriptor
from aftrans_jax.model.geometry import Geometry
from aftrans_jax.model.outputs import GatedRows
from aftrans_jax.model.regions import locate_region
from aftrans_jax.model.sacm import SACM, SELECTIONS, relevance
from aftrans_jax.model.variants import VARIANTS
from aftrans_jax.model.vit import ViT
from aftrans_jax.training.metrics import box_area, box_iou, centred_box
from benchmarks.harness.errors import LeftOutError
from benchmarks.harness.figures import Figure, Result
from benchmarks.models.cases import NUM_CLASSES
from benchmarks.settings import Settings

VARIANT = "ti16"  # DeiT-tiny
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
DEFAULTS: Config = base_config()
NUM_IMAGES = 40
KEEP_RATIOS = (0.1, 0.2, 0.3, 0.4)


class Way(NamedTuple):
    """How class rows become boxes, where not as by default; `layer` is the only one used."""

    name: str
    selection: str = "fused"
    method: str = "largest_component"
    head_fusion: str = "geometric"
    layer: int | None = None


WAYS = (
    Way("default"),
    Way("union", selection="union"),
    Way("votes", selection="votes"),
    Way("extreme values", method="extreme_values"),
    Way("product", head_fusion="product"),
    Way("mean", head_fusion="mean"),
    *(Way(f"layer {layer}", layer=layer) for layer in range(VARIANTS[VARIANT].layers)),
)


def encode(photos: Sequence[Example], settings: Settings) -> tuple[Array, Array]:
    """Returns log class rows [batch layers heads patches] and descriptors [batch layers]."""
    config = settings.config()
    config.model.name = "vit"
    config.model.variant = VARIANT
    config.model.gelu = "exact"
    config.data.mean = MEAN
    config.data.std = STD
    config.pretrained = str(settings.pretrained)
    model = build_model(config, NUM_CLASSES, jnp.dtype("float32"))
    params, _ = initial_params(config, model)

    def class_rows(trunk: ViT, images: Array) -> list[Array]:
        patches = trunk.embed(trunk.normalize(images))
        observe = Summary(class_row_descriptor)
        _, layers = trunk.encode(patches, train=False, observe=observe)
        return [jnp.stack(of_layers, axis=1) for of_layers in zip(*layers, strict=True)]

    encode_one = jax.jit(partial(model.vit.apply, method=class_rows))
    encoded = [encode_one({"params": params["vit"]}, photo.image[None]) for photo in photos]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *encoded)


def gate_layers(log_rows: Array, descriptor: Array, way: Way) -> GatedRows:
    """Returns class rows gated by a SACM with zero kernels, or one layer of them."""
    sacm = SACM(DEFAULTS.sacm.reduction, way.head_fusion)
    shapes = jax.eval_shape(sacm.init, jax.random.key(0), log_rows, descriptor)
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    gated: GatedRows = jax.jit(sacm.apply)(variables, log_rows, descriptor)
    if way.layer is None:
        return gated
    return gated._replace(gate=jnp.zeros_like(gated.gate).at[:, way.layer].set(1.0))


@partial(jax.jit, static_argnames=("keep_ratio", "selection", "method", "geometry"))
def find_boxes(
    gated: GatedRows, *, keep_ratio: float, selection: str, method: str, geometry: Geometry
) -> Int[Array, "batch 4"]:
    """Returns the box of each image, in pixels."""
    mask = SELECTIONS[selection](*gated, keep_ratio)
    side = round(mask.shape[1] ** 0.5)
    min_box = DEFAULTS.region.min_box
    mask, fused = (cells.reshape(-1, side, side) for cells in (mask, relevance(*gated)))
    return locate_region(mask, fused, method=method, geometry=geometry, min_box=min_box)


def score(boxes: Array, annotated: Array, image_size: int) -> dict[str, float]:
    """Returns means over the images, and the standard error of the margin over a centred box."""
    iou = np.asarray(box_iou(boxes, annotated))
    centred_iou = np.asarray(box_iou(centred_box(boxes, image_size), annotated))
    figures = {
        "box area": np.mean(box_area(boxes)) / image_size**2,
        "IoU": iou.mean(),
        "centred IoU": centred_iou.mean(),
        "margin": np.mean(iou - centred_iou),
        "standard error of the margin": np.std(iou - centred_iou, ddof=1) / len(iou) ** 0.5,
    }
    return {name: round(float(figure), 4) for name, figure in figures.items()}


def measure(settings: Settings) -> Result:
    """Returns the scores of the boxes in each way and at each keep ratio."""
    if settings.photos is None or settings.pretrained is None:
        raise LeftOutError("give --photos=.../CUB_200_2011 and --pretrained=.../deit_tiny_*.npz")
    size = settings.image_size
    geometry = Geometry(size, VARIANTS[VARIANT].patch_size, settings.stride)
    test = photo_dataset(read_cub(settings.photos)).test
    chosen = np.linspace(0, len(test) - 1, min(NUM_IMAGES, len(test))).round().astype(int)
    photos = [test_transform(test[int(i)], image_size=size, resize_size=size) for i in chosen]
    annotated = jnp.stack([photo.box for photo in photos])
    rows = encode(photos, settings)
    figures = {}
    for way in WAYS:
        gated = gate_layers(*rows, way)
        how = {"selection": way.selection, "method": way.method, "geometry": geometry}
        for keep_ratio in KEEP_RATIOS:
            boxes = find_boxes(gated, keep_ratio=keep_ratio, **how)
            for name, value in score(boxes, annotated, size).items():
                unit = "share of photo" if name == "box area" else "IoU"
                figures[f"{way.name}, keep {keep_ratio:g}, {name}"] = Figure(value, unit)
    details = {"num_images": len(photos), "gate": 0.5, "variant": VARIANT, "gelu": "exact"}
    return Result(figures, details)
