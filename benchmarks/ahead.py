"""What XLA makes of the step's parts for a TPU that is not here: memory, traffic, compilation.

    pip install "jax[tpu]" && python -m benchmarks.ahead --output=benchmarks/results/NAME.json

libtpu compiles without a TPU, so what it says holds for one; nothing runs, and nothing is timed but
the compiler. Each part is a forward and a backward pass in bfloat16, in the sizes of the global
branch: ViT-B/16 at 448 px, stride 12.
"""

import argparse
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding
from jaxtyping import Array

from aftrans_jax.model.attention import KERNELS, class_row_descriptor
from aftrans_jax.model.encoder import Encoded
from aftrans_jax.model.patches import embed_by_convolution, embed_by_product
from aftrans_jax.model.regions import Geometry, crop_and_resize, locate_region
from aftrans_jax.model.sacm import SELECTIONS
from aftrans_jax.model.variants import VARIANTS
from aftrans_jax.model.vit import ViT
from benchmarks import trunks
from benchmarks.settings import save
from benchmarks.timing import executable_bytes

Part = tuple[Callable[..., Any], tuple[Any, ...]]  # a function and the shapes of its arguments

B16, IMAGE_SIZE, LOCAL_SIZE, STRIDE = VARIANTS["b16"], 448, 224, 12
SIDE = B16.patches_per_side(IMAGE_SIZE, STRIDE)
HALF = (0.5, 0.5, 0.5)
TRUNKS = (
    *(ViT, trunks.FusedProductViT, trunks.RematViT, trunks.RematButProductsViT),
    trunks.Float32ResidualViT,
)


def shape(*sizes: int, dtype: Any = jnp.bfloat16) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, dtype)


def gradient(function: Callable[..., Any], *arguments: int) -> Callable[..., Any]:
    """Returns the gradient of the sum of a function's results by some of its arguments."""

    def total(*values: Any) -> Array:
        results = jax.tree.leaves(function(*values))
        return sum((result.astype(jnp.float32).sum() for result in results), jnp.zeros(()))

    return jax.grad(total, arguments)


def attention_parts(batch: int) -> dict[str, Part]:
    """Returns both kernels at both branches' lengths."""
    heads, head_dim = B16.heads, B16.hidden // B16.heads
    parts: dict[str, Part] = {}
    for size in (IMAGE_SIZE, LOCAL_SIZE):
        tokens = 1 + B16.patches_per_side(size, STRIDE) ** 2
        queries = (shape(batch, tokens, heads, head_dim),) * 3
        for name in ("xla", "splash"):
            parts[f"attention {name}, {tokens} tokens"] = gradient(KERNELS[name], 0, 1, 2), queries
    return parts


def patch_parts(batch: int) -> dict[str, Part]:
    """Returns both ways to embed patches; of the kernel's gradient alone, as in training."""
    arguments = (
        shape(batch, IMAGE_SIZE, IMAGE_SIZE, 3),
        shape(B16.patch_size, B16.patch_size, 3, B16.hidden),
        shape(batch, SIDE**2, B16.hidden),  # what the backward pass brings
    )
    ways = {"product": embed_by_product, "convolution": embed_by_convolution}

    def weighted(embed: Callable[..., Array], images: Array, kernel: Array, weight: Array) -> Array:
        return embed(images, kernel, STRIDE) * weight

    return {
        f"patches by {name}": (gradient(partial(weighted, embed), 1), arguments)
        for name, embed in ways.items()
    }


def trunk_parts(batch: int) -> dict[str, Part]:
    """Returns two encoder blocks, the last for the class token alone, by trunk."""
    parts: dict[str, Part] = {}
    patches = shape(batch, SIDE**2, B16.hidden)
    for kind in TRUNKS:
        trunk = kind(
            variant=B16._replace(layers=2),
            num_classes=200,
            image_size=IMAGE_SIZE,
            stride=STRIDE,
            gelu="tanh",
            mean=HALF,
            std=HALF,
            attention=KERNELS["splash"],
            dtype=jnp.dtype(jnp.bfloat16),
        )

        def encode(module: ViT, patches: Array) -> Encoded:
            return module.encode(patches, train=True, describe=class_row_descriptor)

        xla = trunk.clone(attention=KERNELS["xla"])  # splash is not for the CPU, where init runs
        key = jax.random.key(0)
        params = jax.eval_shape(partial(xla.init, method=encode), key, patches)
        apply = partial(trunk.apply, method=encode)
        parts[f"two blocks of {kind.__name__}"] = gradient(apply, 0), (params, patches)
    return parts


def side_parts(batch: int) -> dict[str, Part]:
    """Returns what lies between the branches, forward alone."""
    layers = shape(batch, B16.layers, dtype=jnp.float32)
    rows = shape(batch, B16.layers, SIDE**2, dtype=jnp.float32)
    geometry = Geometry(IMAGE_SIZE, B16.patch_size, STRIDE)
    locate = partial(
        locate_region, method="largest_component", geometry=geometry, min_box=2 * B16.patch_size
    )
    images = shape(batch, IMAGE_SIZE, IMAGE_SIZE, 3, dtype=jnp.float32)
    return {
        "selection": (partial(SELECTIONS["fused"], keep_ratio=0.2), (layers, rows)),
        "labelling": (locate, (shape(batch, SIDE, SIDE, dtype=jnp.bool),)),
        "crop": (
            partial(crop_and_resize, size=LOCAL_SIZE),
            (images, shape(batch, 4, dtype=jnp.int32)),
        ),
    }


def account(part: Part, sharding: SingleDeviceSharding) -> dict[str, float]:
    """Returns the compiler's account of a part, and the seconds that it took."""
    function, arguments = part
    arguments = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), arguments
    )
    lowered = jax.jit(function).lower(*arguments)
    began = time.perf_counter()
    compiled = lowered.compile()
    seconds = time.perf_counter() - began
    memory, costs = compiled.memory_analysis(), compiled.cost_analysis() or {}
    assert memory is not None  # a compiler without an account of its memory
    return {
        "temporary_bytes": memory.temp_size_in_bytes,
        "executable_bytes": executable_bytes(compiled),
        "bytes_accessed": costs.get("bytes accessed", 0.0),
        "compilation_s": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--topology", default="v5e:2x2x1", help="one of its chips is compiled for")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--output", type=Path, required=True, help="JSON to write")
    args = parser.parse_args()
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # nobody to ask what machine this is
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    device = topologies.get_topology_desc(args.topology, "tpu").devices[0]
    makers = (attention_parts, patch_parts, side_parts, trunk_parts)
    parts = {name: part for make in makers for name, part in make(args.batch).items()}
    results: dict[str, Mapping[str, float]] = {}
    print(f"{'part, batch ' + str(args.batch):44} temporary MB   MB touched   compilation s")
    for name, part in parts.items():
        results[name] = account(part, SingleDeviceSharding(device))
        temporary, _, touched, seconds = results[name].values()
        print(
            f"{name:44} {temporary / 1e6:12.0f} {touched / 1e6:12.0f} {seconds:15.1f}", flush=True
        )
        compiled_for = {"kind": device.device_kind, "topology": args.topology}
        save(args.output, {"compiled_for": compiled_for, "batch": args.batch, "results": results})


if __name__ == "__main__":
    main()
