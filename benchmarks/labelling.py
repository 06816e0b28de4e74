"""Our connected components beside scipy's: the same answer, in how many iterations, how fast.

    python -m benchmarks.labelling --out=benchmarks/results/NAME.json

scipy is timed in both ways one would call it: once per mask, and once for the whole batch as a
volume whose slices do not touch. scikit-image, and CuPy on a GPU, are timed where they are
installed, and not checked. Calls take turns, so that another job on the machine slows all.
"""

import argparse
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Int
from scipy import ndimage

from aftrans_jax.model.components import label_components, largest_component
from aftrans_jax.training.reporting import write_json
from benchmarks.record import circumstances
from benchmarks.timing import Call, take_turns

BATCH, SIDE = 128, 37  # patches of 448 px at stride 12
NUM_CALLS, NUM_WARM_UP = 100, 3
TOUCHING = np.zeros((3, 3, 3), bool)
TOUCHING[1] = True  # 8-connected within a slice, nothing across slices

Masks = Bool[np.ndarray, "batch rows cols"]


def blobs(rng: np.random.Generator) -> Masks:
    """Returns what relevance maps give: the highest 20 % of smooth noise."""
    noise = ndimage.gaussian_filter(rng.normal(size=(BATCH, SIDE, SIDE)), sigma=(0, 2, 2))
    return noise >= np.quantile(noise, 0.8, axis=(1, 2), keepdims=True)


def percolation(rng: np.random.Generator) -> Masks:
    """Returns random cells near the density where components become as ragged as they get."""
    return rng.random((BATCH, SIDE, SIDE)) < 0.41


def spirals(rng: np.random.Generator) -> Masks:
    """Returns one path that winds inwards, turned and mirrored."""
    line = np.minimum(np.arange(SIDE), np.arange(SIDE)[::-1])
    mask = np.minimum(line[:, None], line) % 2 == 0  # rings, one in the other
    for ring in range(0, SIDE // 2 - 1, 2):  # each is opened and led on to the next
        mask[ring + 1, ring], mask[ring + 2, ring + 1] = False, True
    return _turned(mask, rng)


def serpentines(rng: np.random.Generator) -> Masks:
    """Returns one path that runs to and fro, turned and mirrored."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[::2] = mask[1::4, -1] = mask[3::4, 0] = True
    return _turned(mask, rng)


MASKS = {
    "blobs, 20 %": blobs,
    "percolation, 0.41": percolation,
    "spiral": spirals,
    "serpentine": serpentines,
}


def scipy_labels(masks: Masks) -> Int[np.ndarray, "batch rows cols"]:
    """Returns labels that count through the batch, 0 in the background."""
    labels = np.empty(masks.shape, np.int32)
    ndimage.label(masks, structure=TOUCHING, output=labels)
    return labels


def labellers(masks: Masks) -> dict[str, Call]:
    """Returns what labels the masks, by the library that does it; CuPy has them on its device.

    Choice: libraries that are no requirement here take part where they are installed.
    """
    calls: dict[str, Call] = {
        "scipy_per_mask": lambda: [scipy_labels(mask[None]) for mask in masks],
        "scipy_one_call": lambda: scipy_labels(masks),
    }
    if importlib.util.find_spec("skimage"):
        from skimage.measure import label

        calls["skimage_per_mask"] = lambda: [label(mask, connectivity=2) for mask in masks]
    if jax.default_backend() == "gpu" and importlib.util.find_spec("cupy"):
        import cupy
        import cupyx.scipy.ndimage

        volume, touching = cupy.asarray(masks), cupy.asarray(TOUCHING)

        def on_gpu() -> Any:
            labels, _ = cupyx.scipy.ndimage.label(volume, structure=touching)
            cupy.cuda.Device().synchronize()
            return labels

        calls["cupy_one_call"] = on_gpu
    return calls


def scipy_largest(masks: Masks) -> Masks:
    """Returns the largest component of each mask; a tie goes to the first in raster order."""
    labels = scipy_labels(masks)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    flat = labels.reshape(len(masks), -1)
    winner = np.take_along_axis(flat, sizes[flat].argmax(axis=1, keepdims=True), axis=1)
    return (labels == winner[:, :, None]) & masks


def canonical(labels: Int[np.ndarray, "batch rows cols"]) -> Int[np.ndarray, "batch rows cols"]:
    """Returns scipy's labels renamed as ours are: the first cell of each component in its mask."""
    num_cells = labels[0].size
    first = np.full(labels.max() + 1, labels.size)
    np.minimum.at(first, labels.ravel(), np.arange(labels.size))
    return np.where(labels > 0, first[labels] % num_cells, num_cells)


def median_ms(calls: Mapping[str, Call]) -> dict[str, float]:
    """Returns the median time of each call in milliseconds, all of them taking turns."""
    timings = take_turns(calls, num_calls=NUM_CALLS, num_warm_up=NUM_WARM_UP)
    return {name: round(timing.median_ms, 3) for name, timing in timings.items()}


def measure(masks: Masks) -> dict[str, Any]:
    """Returns agreement, iterations and times on one batch."""
    label, largest = jax.jit(label_components), jax.jit(largest_component)
    on_device = jax.device_put(masks)
    labelling = label(on_device)
    return {
        "num_iterations": int(labelling.num_iterations),
        "labels_agree": bool((canonical(scipy_labels(masks)) == labelling.labels).all()),
        "largest_agree": bool((scipy_largest(masks) == largest(on_device)).all()),
        "label_ms": median_ms({"ours": lambda: label(on_device).labels, **labellers(masks)}),
        "largest_ms": median_ms(
            {
                "ours": lambda: largest(on_device),
                "scipy_per_mask": lambda: [scipy_largest(mask[None]) for mask in masks],
                "scipy_one_call": lambda: scipy_largest(masks),
            }
        ),
    }


def _turned(mask: Bool[np.ndarray, "rows cols"], rng: np.random.Generator) -> Masks:
    symmetries = [np.rot90(side, turns) for side in (mask, mask.T) for turns in range(4)]
    return np.stack(symmetries)[rng.integers(len(symmetries), size=BATCH)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    args = parser.parse_args()
    columns = ("ours", *labellers(np.zeros((1, 1, 1), bool)))
    heads = "".join(f"{column:>18}" for column in columns)
    print(f"{f'{BATCH} masks of {SIDE}x{SIDE}, ms':27}  iterations  agree{heads}")
    results = {}
    for name, draw in MASKS.items():
        result = results[name] = measure(draw(np.random.default_rng(0)))
        for task in ("label", "largest"):
            agree = result["labels_agree" if task == "label" else "largest_agree"]
            found = result[f"{task}_ms"]
            times = "".join(f"{found.get(column, np.nan):18.2f}" for column in columns)
            print(f"{name:18} {task:8}  {result['num_iterations']:10}  {agree!s:5}{times}")
    settings = {"batch": BATCH, "side": SIDE, "num_calls": NUM_CALLS, "seed": 0}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.out, {"settings": settings, "results": results, **circumstances()})


if __name__ == "__main__":
    main()
