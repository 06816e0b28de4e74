"""Our connected components beside scipy's: whether they agree, iterations, and time.

scipy is timed in both common ways: once per mask, and once for the full batch as a volume whose
slices do not touch. scikit-image is timed where it is installed, and not checked.
"""

import importlib.util

import jax
import numpy as np
from jaxtyping import Bool, Int
from scipy import ndimage

from aftrans_jax.model.components import label_components, largest_component
from benchmarks.harness.figures import Call, Figure, Result, ratio, take_turns
from benchmarks.settings import Settings

BATCH = 128
SIDE = 37  # patches along 448 px at stride 12
TOUCHING = np.zeros((3, 3, 3), bool)
TOUCHING[1] = True  # 8-connected within a slice, nothing across slices

Masks = Bool[np.ndarray, "batch rows cols"]


def blobs(rng: np.random.Generator) -> Masks:
    """Returns masks like those of relevance maps: the highest 20 % of smooth noise."""
    noise = ndimage.gaussian_filter(rng.normal(size=(BATCH, SIDE, SIDE)), sigma=(0, 2, 2))
    return noise >= np.quantile(noise, 0.8, axis=(1, 2), keepdims=True)


def percolation(rng: np.random.Generator) -> Masks:
    """Returns random cells near the density where components are most ragged."""
    return rng.random((BATCH, SIDE, SIDE)) < 0.41


def spirals(rng: np.random.Generator) -> Masks:
    """Returns one path that winds inwards, rotated and mirrored."""
    line = np.minimum(np.arange(SIDE), np.arange(SIDE)[::-1])
    mask = np.minimum(line[:, None], line) % 2 == 0  # nested rings
    for ring in range(0, SIDE // 2 - 1, 2):  # each is opened and joined to the next
        mask[ring + 1, ring] = False
        mask[ring + 2, ring + 1] = True
    return _turned(mask, rng)


def serpentines(rng: np.random.Generator) -> Masks:
    """Returns one path that runs back and forth, rotated and mirrored."""
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
    """Returns other libraries' calls that label the masks."""
    calls: dict[str, Call] = {
        "scipy per mask": lambda: [scipy_labels(mask[None]) for mask in masks],
        "scipy one call": lambda: scipy_labels(masks),
    }
    if importlib.util.find_spec("skimage"):
        from skimage.measure import label

        calls["skimage per mask"] = lambda: [label(mask, connectivity=2) for mask in masks]
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


def measure_masks(masks: Masks, settings: Settings) -> dict[str, Figure]:
    """Returns iterations and times on one batch; the error is the fraction of wrong cells."""
    label = jax.jit(label_components)
    largest = jax.jit(largest_component)
    on_device = jax.device_put(masks)
    labelling = label(on_device)
    labels_error = np.mean(canonical(scipy_labels(masks)) != labelling.labels)
    largest_error = np.mean(scipy_largest(masks) != largest(on_device))
    label_times = take_turns(
        {"ours": lambda: label(on_device).labels, **labellers(masks)}, settings
    )
    largest_times = take_turns(
        {
            "ours": lambda: largest(on_device),
            "scipy per mask": lambda: [scipy_largest(mask[None]) for mask in masks],
            "scipy one call": lambda: scipy_largest(masks),
        },
        settings,
    )
    found = {"iterations": Figure(int(labelling.num_iterations), "count")}
    for task, times, error in (
        ("labels", label_times, labels_error),
        ("largest", largest_times, largest_error),
    ):
        times["ours"] = times["ours"]._replace(error=float(error))
        found |= {f"{task}, {name}": timing for name, timing in times.items()}
    return found


def measure(settings: Settings) -> Result:
    """Returns the figures of all kinds of masks, and the worst of them.

    Raises:
      ValueError: a component is not scipy's.
    """
    found = {
        name: measure_masks(draw(np.random.default_rng(0)), settings)
        for name, draw in MASKS.items()
    }
    figures = {
        f"{name}: {key}": figure for name, each in found.items() for key, figure in each.items()
    }
    if wrong := [name for name, figure in figures.items() if figure.error]:
        raise ValueError(f"{wrong} are not scipy's: expected the same components in every mask")
    ours = [each["labels, ours"] for each in found.values()]
    shares = [ratio(x["largest, ours"], x["largest, scipy per mask"]) for x in found.values()]
    worst = {
        "iterations": Figure(max(each["iterations"].median for each in found.values()), "count"),
        "slowest labelling": max(ours),
        "largest components, ours / scipy per mask": max(shares),
    }
    return Result(worst | figures, {"batch": BATCH, "side": SIDE, "seed": 0})


def _turned(mask: Bool[np.ndarray, "rows cols"], rng: np.random.Generator) -> Masks:
    symmetries = [np.rot90(side, turns) for side in (mask, mask.T) for turns in range(4)]
    return np.stack(symmetries)[rng.integers(len(symmetries), size=BATCH)]
