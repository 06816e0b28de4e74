"""What XLA makes of the step for a device that is not here: memory, traffic, compilation.

    pip install "jax[tpu]"
    python -m benchmarks.ahead --tpu=v5e:2x2x1 --output=benchmarks/results/NAME.json
    pip install "jax[cuda12]"
    python -m benchmarks.ahead --gpu=h100_sxm.txtpb --output=benchmarks/results/NAME.json

Both compilers work without their device, so what they say holds for one; nothing runs, and nothing
is timed but the compiler. For a TPU, which compiles slowly, parts are compiled; for a GPU, whole
steps. All is bfloat16, ViT-B/16 at 448 and 224 px, stride 12. A GPU is described by a file of XLA's
sources, xla/backends/gpu/target_config/specs. XLA's own matrix products are chosen by trial on the
card, so here all are cuBLAS's.
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

from aftrans_jax.config import base_config
from aftrans_jax.experiment.model import build_optimizer
from aftrans_jax.model.attention import KERNELS
from aftrans_jax.model.class_row import class_row_descriptor
from aftrans_jax.model.encoder import Encoded
from aftrans_jax.model.patches import embed_by_convolution, embed_by_product
from aftrans_jax.model.regions import Geometry, crop_and_resize, locate_region
from aftrans_jax.model.sacm import SELECTIONS
from aftrans_jax.model.variants import VARIANTS
from aftrans_jax.model.vit import ViT
from aftrans_jax.training.precision import NoLossScale
from aftrans_jax.training.state import TrainState, create_state
from benchmarks import trunks
from benchmarks.cases import CASES, param_shapes, random_batch, step_function
from benchmarks.settings import save
from benchmarks.step import bytes_per_image
from benchmarks.timing import executable_bytes

Part = tuple[Callable[..., Any], tuple[Any, ...]]  # a function and the shapes of its arguments

B16, IMAGE_SIZE, LOCAL_SIZE, STRIDE = VARIANTS["b16"], 448, 224, 12
SIDE = B16.patches_per_side(IMAGE_SIZE, STRIDE)
HALF = (0.5, 0.5, 0.5)
TPU_BATCH = 8
BATCHES = (12, 48)
OTHER_CASES = ("aftrans_every_token", "fused_product", "remat", "remat_but_products", "scanned")
STEPS = (
    *(("aftrans", "cudnn", batch) for batch in BATCHES),
    *(("naive", "xla", batch) for batch in (12, 24)),  # of 48, XLA computes half twice to fit
    *(("aftrans", "xla", batch) for batch in BATCHES),
    *((case, "cudnn", 12) for case in (*OTHER_CASES, "convolution", "float32_residual")),
)
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

        init = partial(trunk.init, method=encode)
        params = jax.eval_shape(init, jax.random.key(0), patches)
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


def steps() -> dict[str, Part]:
    """Returns training steps by case, attention and batch."""
    parts = {}
    for case, attention, batch in STEPS:
        config = base_config()
        config.model.attention = attention
        model = CASES[case].make(config, jnp.dtype(jnp.bfloat16))
        _, optimizer = build_optimizer(config)
        state = jax.eval_shape(
            partial(create_state, optimizer=optimizer, loss_scale=NoLossScale()),
            param_shapes(model, IMAGE_SIZE),
        )
        arguments = (
            state,
            jax.eval_shape(partial(random_batch, IMAGE_SIZE, batch)),
            jax.eval_shape(partial(jax.random.key, 0)),
        )
        name = f"{case}, {attention}, batch {batch}"
        parts[name] = step_function(model, optimizer, config), arguments
    return parts


def tpu_parts() -> dict[str, Part]:
    """Returns the parts of a step on a batch of `TPU_BATCH`."""
    makers = (attention_parts, patch_parts, side_parts, trunk_parts)
    return {
        f"{name}, batch {TPU_BATCH}": part
        for make in makers
        for name, part in make(TPU_BATCH).items()
    }


def account(
    part: Part, sharding: SingleDeviceSharding, compiler_options: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the compiler's account of a part, and the seconds that it took."""
    function, arguments = part
    arguments = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), arguments
    )
    # A step's state is given away, as in training; nothing else has room in a part's results.
    donated = 0 if isinstance(arguments[0], TrainState) else ()
    lowered = jax.jit(function, donate_argnums=donated).lower(*arguments)
    began = time.perf_counter()
    compiled = lowered.compile(compiler_options=dict(compiler_options))
    seconds = time.perf_counter() - began
    memory, costs = compiled.memory_analysis(), compiled.cost_analysis() or {}
    assert memory is not None  # a compiler without an account of its memory
    return {
        "temporary_bytes": memory.temp_size_in_bytes,
        "executable_bytes": executable_bytes(compiled),
        "bytes_accessed": costs.get("bytes accessed"),  # not told for a GPU
        "compilation_s": round(seconds, 1),
    }


def per_image(results: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Returns what one more image takes in steps that were compiled at two batch sizes."""
    known: dict[str, dict[int, int]] = {}
    for name, result in results.items():
        step, _, batch = name.rpartition(", batch ")
        known.setdefault(step, {})[int(batch)] = result["executable_bytes"]
    return {step: each for step, sizes in known.items() if (each := bytes_per_image(sizes))}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--tpu", help="a topology; one of its chips is compiled for: v5e:2x2x1")
    target.add_argument("--gpu", type=Path, help="XLA's description of one: h100_sxm.txtpb")
    parser.add_argument("--output", type=Path, required=True, help="JSON to write")
    args = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")  # no device is looked for
    if args.tpu:
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # nobody to ask what machine this is
        os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
        topology = topologies.get_topology_desc(args.tpu, "tpu")
        parts, compiler_options = tpu_parts(), {}
    else:
        topology = topologies.get_topology_desc(
            "gpu", "cuda", topology="1x1x1", target_config=args.gpu.read_text(encoding="utf-8")
        )
        parts, compiler_options = steps(), {"xla_gpu_enable_triton_gemm": False}
    device = topology.devices[0]
    found: dict[str, Any] = {"compiled_for": device.device_kind, "results": {}}
    print(f"{'compiled for ' + device.device_kind:44} temporary MB   MB touched   compilation s")
    for name, part in parts.items():
        result = account(part, SingleDeviceSharding(device), compiler_options)
        touched = result["bytes_accessed"]
        print(
            f"{name:44} {result['temporary_bytes'] / 1e6:12.0f} "
            f"{'-' if touched is None else f'{touched / 1e6:.0f}':>12} "
            f"{result['compilation_s']:15.1f}",
            flush=True,
        )
        found["results"][name] = result
        found["bytes_per_image"] = per_image(found["results"])
        save(args.output, found)
    for name, size in found["bytes_per_image"].items():
        print(f"{name}: {size / 1e6:.0f} MB an image")


if __name__ == "__main__":
    main()
