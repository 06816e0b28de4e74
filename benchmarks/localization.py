"""Where an untrained gate looks on real photos: predicted boxes against the annotated birds.

    python -m benchmarks.localization --data=.../CUB_200_2011 \
        --pretrained=.../deit_tiny_patch16_224.npz --out=benchmarks/results/NAME.json

The SACM's kernels are zero, so every gate is 1/2: no seed, no training. A layer "alone" has a gate
of 1 and the others 0. Evenly spaced photos of the test split are resized as in an evaluation. Each
is encoded once; the rest is cheap and repeated for every setting. What a box has to beat is the
square of the same area in the middle of the image.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int
from PIL import Image

from aftrans_jax.config import Config, base_config
from aftrans_jax.data.examples import Example
from aftrans_jax.data.loading.transforms import test_transform
from aftrans_jax.data.sets.annotations import photo_dataset
from aftrans_jax.data.sets.cub import read_cub
from aftrans_jax.model.class_row import class_row_descriptor
from aftrans_jax.model.regions import Geometry, locate_region
from aftrans_jax.model.sacm import SACM, SELECTIONS, GatedRows, relevance
from aftrans_jax.model.variants import VARIANTS
from aftrans_jax.model.vit import ViT
from aftrans_jax.report.pictures import ANNOTATED, PREDICTED, draw_box, overlay_heat
from aftrans_jax.training.metrics import box_area, box_iou, centred_box
from aftrans_jax.training.reporting import write_json
from aftrans_jax.weights.fitting import fit_to_model
from aftrans_jax.weights.npz import read_npz
from benchmarks.record import circumstances

VARIANT, GELU = "ti16", "exact"  # DeiT-tiny and its training
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DEFAULTS: Config = base_config()
NUM_SHOWN, TILE_PX, COLUMNS = 12, 280, 6  # of the contact sheet; a photo takes two tiles


class Setting(NamedTuple):
    """How class rows become boxes, where not as by default; `layer` is the only one looked at."""

    name: str
    selection: str = "fused"
    method: str = "largest_component"
    head_fusion: str = "geometric"
    layer: int | None = None


SETTINGS = (
    Setting("default"),
    Setting("union", selection="union"),
    Setting("votes", selection="votes"),
    Setting("extreme values", method="extreme_values"),
    Setting("product", head_fusion="product"),
    Setting("mean", head_fusion="mean"),
    *(Setting(f"layer {layer}", layer=layer) for layer in range(VARIANTS[VARIANT].layers)),
)


def encode(photos: Sequence[Example], pretrained: Path, geometry: Geometry) -> tuple[Array, Array]:
    """Returns log class rows [batch layers heads patches] and descriptors [batch layers].

    Choice: one photo at a time, since its attention maps take 0.1 GB on a CPU.
    """
    arrays = read_npz(pretrained)
    vit = ViT(
        variant=VARIANTS[VARIANT],
        num_classes=arrays["head/bias"].size,
        image_size=geometry.image_size,
        stride=geometry.stride,
        gelu=GELU,
        mean=MEAN,
        std=STD,
    )

    def class_rows(trunk: ViT, images: Array) -> tuple[Array | None, Array | None]:
        patches = trunk.embed(trunk.normalize(images))
        encoded = trunk.encode(patches, train=False, describe=class_row_descriptor)
        return encoded.log_rows, encoded.descriptor

    images = np.stack([photo.image for photo in photos])
    init = partial(vit.init, train=False)
    expected = jax.eval_shape(init, jax.random.key(0), images[:1])["params"]
    variables = {"params": fit_to_model(arrays, expected).params}
    encode_one = jax.jit(partial(vit.apply, method=class_rows))
    encoded = [encode_one(variables, image[None]) for image in images]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *encoded)


def gate_layers(log_rows: Array, descriptor: Array, setting: Setting) -> GatedRows:
    """Returns what a SACM with zero kernels makes of the class rows, or one layer of it."""
    sacm = SACM(DEFAULTS.sacm.reduction, setting.head_fusion)
    shapes = jax.eval_shape(sacm.init, jax.random.key(0), log_rows, descriptor)
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    gated: GatedRows = jax.jit(sacm.apply)(variables, log_rows, descriptor)
    if setting.layer is None:
        return gated
    return gated._replace(gate=jnp.zeros_like(gated.gate).at[:, setting.layer].set(1.0))


@partial(jax.jit, static_argnames=("keep_ratio", "selection", "method", "geometry"))
def find_boxes(
    gated: GatedRows, *, keep_ratio: float, selection: str, method: str, geometry: Geometry
) -> Int[Array, "batch 4"]:
    """Returns the box of each image, in pixels."""
    mask = SELECTIONS[selection](*gated, keep_ratio)
    side, min_box = round(mask.shape[1] ** 0.5), DEFAULTS.region.min_box
    mask = mask.reshape(-1, side, side)
    return locate_region(mask, method=method, geometry=geometry, min_box=min_box)


def score(boxes: Array, annotated: Array, image_size: int) -> dict[str, float]:
    """Returns means over the images, and the standard error of the margin over a centred box."""
    iou = np.asarray(box_iou(boxes, annotated))
    centred_iou = np.asarray(box_iou(centred_box(boxes, image_size), annotated))
    figures = {
        "box_area": np.mean(box_area(boxes)) / image_size**2,
        "iou": iou.mean(),
        "centred_iou": centred_iou.mean(),
        "margin": np.mean(iou - centred_iou),
        "margin_standard_error": np.std(iou - centred_iou, ddof=1) / len(iou) ** 0.5,
    }
    return {name: round(float(figure), 4) for name, figure in figures.items()}


def contact_sheet(photos: Sequence[Example], boxes: np.ndarray, heat: Array) -> Image.Image:
    """Returns photos beside their heat; the predicted box is solid, the annotated one dashed."""
    shown, side = _evenly_spaced(len(photos), NUM_SHOWN), round(heat.shape[1] ** 0.5)
    sheet = Image.new("RGB", (COLUMNS * TILE_PX, -(-2 * len(shown) // COLUMNS) * TILE_PX))
    for place, index in enumerate(shown):
        image, _, annotated = photos[index]
        relevant = np.asarray(heat[index]).reshape(side, side)
        for tile, drawn in enumerate((image, overlay_heat(image, relevant)), start=2 * place):
            drawn = draw_box(drawn, tuple(annotated), ANNOTATED, 4, dash_px=12)
            drawn = draw_box(drawn, tuple(boxes[index]), PREDICTED, 5)
            small = Image.fromarray(drawn).resize((TILE_PX, TILE_PX), Image.Resampling.LANCZOS)
            sheet.paste(small, (tile % COLUMNS * TILE_PX, tile // COLUMNS * TILE_PX))
    return sheet


def _evenly_spaced(count: int, wanted: int) -> list[int]:
    return np.linspace(0, count - 1, min(wanted, count)).round().astype(int).tolist()


def _print_table(results: Sequence[dict], keep_ratios: Sequence[float]) -> None:
    print(f"{'':16}" + "".join(f"{f'keep_ratio {ratio:g}':<23}" for ratio in keep_ratios))
    print(f"{'':16}" + f"{'area  IoU    centred':<23}" * len(keep_ratios))
    for start in range(0, len(results), len(keep_ratios)):
        line = results[start : start + len(keep_ratios)]
        cells = (f"{r['box_area']:.2f}  {r['iou']:.3f}  {r['centred_iou']:.3f}" for r in line)
        print(f"{line[0]['setting']:16}" + "".join(f"{cell:<23}" for cell in cells))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of CUB-200-2011")
    parser.add_argument("--pretrained", type=Path, required=True, help="npz of DeiT-tiny")
    parser.add_argument("--num-images", type=int, default=40, help="of the test split")
    parser.add_argument("--image-size", type=int, default=448, help="px")
    parser.add_argument("--stride", type=int, default=12, help="px between patches")
    parser.add_argument("--keep-ratio", type=float, nargs="+", default=[0.1, 0.2, 0.3, 0.4])
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    parser.add_argument("--pictures", type=Path, help="folder for a contact sheet a keep ratio")
    return parser.parse_args()


def main() -> None:
    args = _parse_arguments()
    geometry = Geometry(args.image_size, VARIANTS[VARIANT].patch_size, args.stride)
    test, size = photo_dataset(read_cub(args.data)).test, args.image_size
    chosen = _evenly_spaced(len(test), args.num_images)
    photos = [test_transform(test[i], image_size=size, resize_size=size) for i in chosen]
    annotated = jnp.stack([photo.box for photo in photos])
    rows = encode(photos, args.pretrained, geometry)
    results = []
    for setting in SETTINGS:
        gated = gate_layers(*rows, setting)
        how = {"selection": setting.selection, "method": setting.method, "geometry": geometry}
        for keep_ratio in args.keep_ratio:
            boxes = find_boxes(gated, keep_ratio=keep_ratio, **how)
            scores = score(boxes, annotated, size)
            results.append({"setting": setting.name, "keep_ratio": keep_ratio, **scores})
            if args.pictures and setting == SETTINGS[0]:
                args.pictures.mkdir(parents=True, exist_ok=True)
                sheet = contact_sheet(photos, np.asarray(boxes), relevance(*gated))
                sheet.save(args.pictures / f"keep_{keep_ratio:g}.png")
    settings = {"num_images": len(photos), "image_size": size, "stride": args.stride, "gate": 0.5}
    settings |= {"variant": VARIANT, "gelu": GELU, "pretrained": args.pretrained.name}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.out, {"settings": settings, "results": results, **circumstances()})
    _print_table(results, args.keep_ratio)


if __name__ == "__main__":
    main()
