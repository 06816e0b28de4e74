"""What AFTrans adds to two passes through the trunk, by part and in total.

Each part is compiled by itself and fed with the results of the part before it, starting from random
class rows that are smooth over patches as real ones are. Fused into a step, parts cost less. The
total is the step of AFTrans minus the step of the same two passes without any of the parts.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import ndimage

from aftrans_jax.config import Config
from aftrans_jax.model.aftrans import AFTrans, straight_through_scale
from aftrans_jax.model.class_row import DESCRIPTORS, log_class_row
from aftrans_jax.model.crops import crop_and_resize, resample_relevance
from aftrans_jax.model.geometry import Geometry
from aftrans_jax.model.outputs import GatedRows
from aftrans_jax.model.regions import locate_region
from aftrans_jax.model.sacm import GATES, SACM, SELECTIONS, relevance
from aftrans_jax.training.precision import PRECISIONS
from benchmarks.harness.figures import Call, Figure, Result, take_turns
from benchmarks.models.cases import CASES
from benchmarks.models.training import Step, random_batch
from benchmarks.settings import Settings

BURST = 10  # calls of a part in a row, since each is short


def smooth_rows(rng: np.random.Generator, batch: int, layers: int, heads: int, side: int) -> Array:
    """Returns log class rows [batch layers heads patches] around one smooth map per image."""
    noise = rng.normal(size=(batch, side, side))
    shared = ndimage.gaussian_filter(noise, sigma=(0, 2, 2)) * side / 4
    rows = shared[:, None, None] + 0.1 * rng.normal(size=(batch, layers, heads, side, side))
    return jax.nn.log_softmax(jnp.asarray(rows, jnp.float32).reshape(*rows.shape[:3], -1))


def class_rows(
    config: Config, queries: list[Array], keys: list[Array]
) -> tuple[Float[Array, "batch layers heads patches"], Float[Array, "batch layers"]]:
    """Returns the class rows of all layers and their descriptors, as in the encoder."""
    describe = DESCRIPTORS[config.sacm.descriptor]
    rows = []
    descriptors = []
    for query, key in zip(queries, keys, strict=True):
        rows.append(log_class_row(query, key))
        descriptors.append(describe(query, key, rows[-1]))
    return jnp.stack(rows, axis=1), jnp.stack(descriptors, axis=1)


def gate_gradient(
    config: Config, local: Geometry, gate: Array, rows: Array, box: Array, patches: Array
) -> Array:
    """Returns the gate's gradient through the local branch's patches, whose gradient is ones."""
    side = round(rows.shape[-1] ** 0.5)

    def total(gate: Array) -> Array:
        gated = relevance(GATES[config.sacm.gate](gate), rows)
        weight = resample_relevance(gated.reshape(-1, side, side), box, local)
        return straight_through_scale(patches, weight).astype(jnp.float32).sum()

    return jax.grad(total)(gate)


def parts(settings: Settings) -> dict[str, Call]:
    """Returns the compiled calls to time, by the name of the part."""
    config = settings.config()
    batch = settings.batch
    dtype = PRECISIONS[settings.precision]().dtype
    model = cast(AFTrans, CASES["aftrans"].make(config, dtype))
    variant = model.vit.variant
    rng = np.random.default_rng(0)
    side = variant.patches_per_side(config.data.image_size, config.model.stride)
    local = model.vit.geometry._replace(image_size=model.local_size)
    local_side = variant.patches_per_side(model.local_size, config.model.stride)
    draw = jax.jit(partial(jax.random.normal, dtype=dtype), static_argnums=1)
    head_dim = variant.hidden // variant.heads
    tokens = 1 + side**2
    seeds = jax.random.split(jax.random.key(0), 2 * variant.layers)
    drawn = [draw(seed, (batch, tokens, variant.heads, head_dim)) for seed in seeds]
    # One query a layer: only the class token's is read, and the last block has no others.
    queries = [query[:, :1] for query in drawn[::2]]
    keys = drawn[1::2]

    rows = smooth_rows(rng, batch, variant.layers, variant.heads, side)
    descriptor = jnp.asarray(rng.normal(size=(batch, variant.layers)), jnp.float32)
    sacm = SACM(model.reduction, model.head_fusion, model.gate)
    weights = sacm.init(jax.random.key(0), rows[:1], descriptor[:1])

    def gated(rows: Array, descriptor: Array) -> GatedRows:
        return cast(GatedRows, sacm.apply(weights, rows, descriptor))

    gate, layer_rows = jax.jit(gated)(rows, descriptor)
    select = partial(SELECTIONS[model.selection], keep_ratio=model.keep_ratio)
    mask = jax.jit(select)(gate, layer_rows).reshape(-1, side, side)
    fused = jax.jit(relevance)(gate, layer_rows).reshape(mask.shape)
    locate = partial(
        locate_region,
        method=model.region_method,
        geometry=model.vit.geometry,
        min_box=model.min_box,
    )
    box = jax.jit(locate)(mask, fused)
    images = jax.jit(model.vit.normalize)(random_batch(config.data.image_size, batch)["image"])
    patches = draw(seeds[0], (batch, local_side**2, variant.hidden))

    def call(function: Callable[..., Any], *args: Any) -> Call:
        return partial(jax.jit(function).lower(*args).compile(), *args)

    return {
        "class rows": call(partial(class_rows, config), queries, keys),
        "gate": call(lambda *args: gated(*args).gate, rows, descriptor),
        "fuse": call(lambda *args: gated(*args).layer_rows, rows, descriptor),
        "selection": call(select, gate, layer_rows),
        "labelling": call(locate, mask, fused),
        "crop": call(
            partial(crop_and_resize, size=model.local_size, resample=model.resample), images, box
        ),
        "gate's gradient": call(
            partial(gate_gradient, config, local), gate, layer_rows, box, patches
        ),
    }


def measure(settings: Settings) -> Result:
    """Returns the milliseconds of each part, and of the total beside the step's and the goal's."""
    timed = take_turns(parts(settings), settings, burst=BURST)
    config = settings.config()
    batch = settings.batch
    steps = {name: Step(CASES[name], config, batch) for name in ("aftrans", "two_passes")}
    whole = take_turns(steps, settings)
    step = whole["aftrans"]
    passes = whole["two_passes"]
    added = round(step.median - passes.median, 4)
    parts_sum = round(sum(timing.median for timing in timed.values()), 4)
    figures = timed | {
        "sum of parts": Figure(parts_sum, "ms"),
        "step": step,
        "step of two passes": passes,
        "added": Figure(added, "ms"),
        "added, share of the step": Figure(round(added / step.median, 6), "ratio"),
        "parts, share of the step": Figure(round(parts_sum / step.median, 6), "ratio"),
        "added / (0.8 ms + 20 us an image)": Figure(
            round(added / (0.8 + 0.02 * batch), 4), "ratio"
        ),
    }
    return Result(figures, settings.resolved() | {"burst": BURST})
