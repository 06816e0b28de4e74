"""Draws README's picture from a trained demo: `python -m docs.pictures --workdir=runs/demo`.

Every row is a test bird of the built-in set, every column a stage of AFTrans. The birds are evenly
spaced over the test split, so mistakes show as often as they happen.
"""

import argparse
from pathlib import Path
from typing import cast

import jax
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from aftrans_jax.data.sets.synthetic import synthetic_dataset
from aftrans_jax.inference.trained_model import Trained, load_trained
from aftrans_jax.model.outputs import ModelOutput
from aftrans_jax.report.pictures import PREDICTED, draw_box, overlay_heat
from aftrans_jax.training.metrics import prediction_logits

Pixels = UInt8[np.ndarray, "height width 3"]

TILE_PX = 144
GAP_PX = 10
HEAD_PX = 28
TEXT_PX = 268
COLUMNS = ("image and region", "relevance", "kept patches", "crop")
INK = (29, 32, 36)
MUTED = (89, 97, 108)
PAPER = (255, 255, 255)
SIGNS = {True: ((23, 105, 58), "right"), False: ((173, 32, 24), "wrong")}


def stages(image: Pixels, output: ModelOutput) -> list[Pixels]:
    """Returns what each column shows of one image and a model's output for it, as a batch of 1."""
    assert output.region is not None  # the demo trains AFTrans
    scale = TILE_PX // len(image)
    relevance, mask, box = (
        np.asarray(x[0]) for x in (output.region.relevance, output.region.mask, output.region.box)
    )
    shown = image.repeat(scale, 0).repeat(scale, 1)
    top, left, bottom, right = (int(edge) * scale for edge in box)
    outlined = draw_box(shown, (top, left, bottom, right), PREDICTED, 3)
    kept = np.asarray(Image.fromarray(mask).resize(shown.shape[1::-1], Image.Resampling.NEAREST))
    dimmed = np.where(kept[..., None], shown, shown // 4)
    return [outlined, overlay_heat(shown, relevance), dimmed, shown[top:bottom, left:right]]


def answers(trained: Trained, output: ModelOutput, label: int) -> list[tuple[str, bool]]:
    """Returns the class that each head names, as "head: class", and whether it is the true one."""
    named = {
        head: int(np.asarray(logits)[0].argmax())
        for head, logits in prediction_logits(output.logits).items()
    }
    return [(f"{head}: {trained.class_names[k]}", k == label) for head, k in named.items()]


def sheet(trained: Trained, num_birds: int) -> Image.Image:
    """Returns the whole picture."""
    size = trained.sizes["image_size"]
    birds = synthetic_dataset(num_train=12, num_test=1500, image_size=size).test
    width = len(COLUMNS) * (TILE_PX + GAP_PX) + TEXT_PX
    height = HEAD_PX + num_birds * (TILE_PX + GAP_PX)
    picture = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(15)
    for column, text in enumerate(COLUMNS):
        draw.text((column * (TILE_PX + GAP_PX), 4), text, MUTED, font)
    apply = jax.jit(lambda params, images: trained.model.apply(params, images, train=False))
    for row, index in enumerate(np.linspace(0, len(birds) - 1, num_birds).round().astype(int)):
        bird = birds[int(index)]
        top = HEAD_PX + row * (TILE_PX + GAP_PX)
        output = cast(ModelOutput, apply({"params": trained.params}, bird.image[None]))
        for column, tile in enumerate(stages(bird.image, output)):
            square = Image.fromarray(tile).resize((TILE_PX, TILE_PX), Image.Resampling.BILINEAR)
            picture.paste(square, (column * (TILE_PX + GAP_PX), top))
        left = len(COLUMNS) * (TILE_PX + GAP_PX) + GAP_PX
        draw.text((left, top), trained.class_names[bird.label], INK, font)
        for line, (text, is_right) in enumerate(answers(trained, output, bird.label), start=1):
            color, sign = SIGNS[is_right]
            draw.text((left, top + 24 * line), f"{text} ({sign})", color, font)
    return picture


def main() -> None:
    """Writes the picture and prints where it is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workdir", type=Path, default=Path("runs/demo"), help="of the demo")
    parser.add_argument("--birds", type=int, default=4, help="how many rows")
    parser.add_argument("--out", type=Path, default=Path("docs/images/birds.png"))
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    sheet(load_trained(args.workdir), args.birds).save(args.out, optimize=True)
    print(args.out)


if __name__ == "__main__":
    main()
