"""What AFTrans adds to two passes through the trunk, part by part and as a whole.

    python -m benchmarks.side_path --batch=12,48 --output=benchmarks/results/NAME.json

Each part is compiled by itself and fed with what the part before it made of random class rows,
smooth over patches as real ones are. Fused into a step, parts cost less than here. The whole is
the step of AFTrans less the step of the same two passes without any of the parts.
"""

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import ndimage

from aftrans_jax.config import Config
from aftrans_jax.model.aftrans import GATE_GRADIENTS, AFTrans
from aftrans_jax.model.class_row import DESCRIPTORS, log_class_row
from aftrans_jax.model.regions import Geometry, crop_and_resize, resample_relevance
from aftrans_jax.model.sacm import SACM, SELECTIONS, GatedRows, relevance
from aftrans_jax.training.precision import PRECISIONS
from benchmarks.cases import CASES, Step, random_batch
from benchmarks.settings import add_settings, batch_sizes, save, settings
from benchmarks.timing import Call, take_turns

BURST = 10  # calls of a part in a row: each is short


def smooth_rows(rng: np.random.Generator, batch: int, layers: int, heads: int, side: int) -> Array:
    """Returns log class rows [batch layers heads patches], one smooth map per image behind all."""
    noise = rng.normal(size=(batch, side, side))
    shared = ndimage.gaussian_filter(noise, sigma=(0, 2, 2)) * side / 4
    rows = shared[:, None, None] + 0.1 * rng.normal(size=(batch, layers, heads, side, side))
    return jax.nn.log_softmax(jnp.asarray(rows, jnp.float32).reshape(*rows.shape[:3], -1))


def class_rows(
    config: Config, queries: list[Array], keys: list[Array]
) -> tuple[Float[Array, "batch layers heads patches"], Float[Array, "batch layers"]]:
    """Returns the class rows of all layers and their descriptors, as the encoder takes them."""
    describe, rows, descriptors = DESCRIPTORS[config.sacm.descriptor], [], []
    for query, key in zip(queries, keys, strict=True):
        rows.append(log_class_row(query, key))
        descriptors.append(describe(query, key, rows[-1]))
    return jnp.stack(rows, axis=1), jnp.stack(descriptors, axis=1)


def guide(
    config: Config, local: Geometry, gate: Array, rows: Array, box: Array, patches: Array
) -> Array:
    """Returns the gate's gradient through the local branch's patches, whose own is ones."""
    side = round(rows.shape[-1] ** 0.5)

    def total(gate: Array) -> Array:
        weight = resample_relevance(relevance(gate, rows).reshape(-1, side, side), box, local)
        return GATE_GRADIENTS[config.sacm.gate_gradient](patches, weight).astype(jnp.float32).sum()

    return jax.grad(total)(gate)


def parts(config: Config, batch: int) -> dict[str, Call]:
    """Returns the calls to time, by the name of the part, compiled."""
    dtype = PRECISIONS[config.train.precision]().dtype
    model = cast(AFTrans, CASES["aftrans"].make(config, dtype))
    variant, rng = model.vit.variant, np.random.default_rng(0)
    side = variant.patches_per_side(config.data.image_size, config.model.stride)
    local = Geometry(model.local_size, variant.patch_size, config.model.stride)
    local_side = variant.patches_per_side(model.local_size, config.model.stride)
    draw = jax.jit(partial(jax.random.normal, dtype=dtype), static_argnums=1)
    head_dim, tokens = variant.hidden // variant.heads, 1 + side**2
    seeds = jax.random.split(jax.random.key(0), 2 * variant.layers)
    drawn = [draw(seed, (batch, tokens, variant.heads, head_dim)) for seed in seeds]
    # One query a layer: the class token's alone is read, and only from the last block is there one.
    queries, keys = [query[:, :1] for query in drawn[::2]], drawn[1::2]

    rows = smooth_rows(rng, batch, variant.layers, variant.heads, side)
    descriptor = jnp.asarray(rng.normal(size=(batch, variant.layers)), jnp.float32)
    sacm = SACM(model.reduction, model.head_fusion)
    weights = sacm.init(jax.random.key(0), rows[:1], descriptor[:1])

    def gated(rows: Array, descriptor: Array) -> GatedRows:
        return cast(GatedRows, sacm.apply(weights, rows, descriptor))

    gate, layer_rows = jax.jit(gated)(rows, descriptor)
    select = partial(SELECTIONS[model.selection], keep_ratio=model.keep_ratio)
    mask = jax.jit(select)(gate, layer_rows).reshape(-1, side, side)
    box = jax.jit(model.locate)(mask)
    images = jax.jit(model.vit.normalize)(random_batch(config.data.image_size, batch)["image"])
    patches = draw(seeds[0], (batch, local_side**2, variant.hidden))

    def call(function: Callable[..., Any], *args: Any) -> Call:
        return partial(jax.jit(function).lower(*args).compile(), *args)

    return {
        "class rows": call(partial(class_rows, config), queries, keys),
        "gate": call(lambda *args: gated(*args).gate, rows, descriptor),
        "fuse": call(lambda *args: gated(*args).layer_rows, rows, descriptor),
        "selection": call(select, gate, layer_rows),
        "labelling": call(model.locate, mask),
        "crop": call(partial(crop_and_resize, size=model.local_size), images, box),
        "gate's gradient": call(partial(guide, config, local), gate, layer_rows, box, patches),
    }


def measure(config: Config, batch: int, *, num_calls: int, num_warm_up: int) -> dict[str, Any]:
    """Returns the milliseconds of each part and of the whole, with the step's and the goal's."""
    counts = {"num_calls": num_calls, "num_warm_up": num_warm_up}
    timed = take_turns(parts(config, batch), burst=BURST, **counts)
    steps = {name: Step(CASES[name], config, batch) for name in ("aftrans", "two_passes")}
    whole = take_turns(steps, **counts)
    step, passes = (whole[name].median_ms for name in ("aftrans", "two_passes"))
    return {
        "parts": {name: timing._asdict() for name, timing in timed.items()},
        "parts_sum_ms": sum(timing.median_ms for timing in timed.values()),
        "steps": {name: timing._asdict() for name, timing in whole.items()},
        "whole_ms": step - passes,
        "whole_share": (step - passes) / step,
        "must_ms": 0.8 + 0.02 * batch,  # P4 of PERFORMANCE, on a GPU
    }


def show(batch: int, result: Mapping[str, Any]) -> None:
    step = result["steps"]["aftrans"]["median_ms"]
    lines = {name: timing["median_ms"] for name, timing in result["parts"].items()}
    lines["sum of parts"] = result["parts_sum_ms"]
    lines["step less two passes"] = result["whole_ms"]
    lines["step"] = step
    for name, milliseconds in lines.items():
        print(f"{name:22} {batch:5} {milliseconds:10.3f} {milliseconds / step:8.1%}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add_settings(parser, batch="12,48")
    args = parser.parse_args()
    config, content = settings(args)
    print(f"{'part':22} batch         ms    share")
    results = {}
    for batch in batch_sizes(args):
        results[batch] = measure(config, batch, num_calls=args.steps, num_warm_up=args.warmup)
        show(batch, results[batch])
        save(args.output, {"settings": content | {"burst": BURST}, "results": results})


if __name__ == "__main__":
    main()
