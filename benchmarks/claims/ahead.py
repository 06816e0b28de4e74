"""What XLA makes of the step for a device that is not here: memory, traffic, compilation.

    pip install "jax[tpu]"; python -m benchmarks ahead --target=v5e:2x2x1
    pip install "jax[cuda12]"; python -m benchmarks ahead --target=h100_sxm.txtpb

Both compilers work without their device, so their accounts hold for one; nothing runs, and nothing
is timed but the compiler. For a TPU, which compiles slowly, parts are compiled; for a GPU, full
steps. All is bfloat16, ViT-B/16 at 448 and 224 px, stride 12. A GPU is described by a file of XLA's
sources, xla/backends/gpu/target_config/specs. XLA chooses its own matrix products by trial on the
card, so here all are cuBLAS's.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding
from jaxtyping import Array

from aftrans_jax.config import recipe_config
from aftrans_jax.experiment.auto_settings import resolve_auto
from aftrans_jax.experiment.optimization import build_optimizer
from aftrans_jax.model.attention import KERNELS
from aftrans_jax.model.class_row import Summary, class_row_descriptor
from aftrans_jax.model.crops import crop_and_resize
from aftrans_jax.model.geometry import Geometry
from aftrans_jax.model.patches import embed_by_convolution, embed_by_product
from aftrans_jax.model.regions import locate_region
from aftrans_jax.model.sacm import SELECTIONS
from aftrans_jax.model.variants import VARIANTS
from aftrans_jax.model.vit import ViT
from aftrans_jax.training.precision import NoLossScale
from aftrans_jax.training.state import TrainState, create_state
from benchmarks.harness.figures import Figure, Result
from benchmarks.harness.memory import bytes_per_image, executable_bytes
from benchmarks.harness.target import aimed
from benchmarks.models import trunks
from benchmarks.models.cases import CASES
from benchmarks.models.training import param_shapes, random_batch, step_function
from benchmarks.settings import Settings

Part = tuple[Callable[..., Any], tuple[Any, ...]]  # a function and the shapes of its arguments

B16 = VARIANTS["b16"]
IMAGE_SIZE = 448
LOCAL_SIZE = 224
STRIDE = 12
SIDE = B16.patches_per_side(IMAGE_SIZE, STRIDE)
TPU_BATCH = 8
BATCHES = (12, 48)
OTHER_CASES = ("aftrans_every_token", "fused_product", "remat", "remat_but_products", "scanned")
STEPS = (
    *(("aftrans", "cudnn", batch) for batch in BATCHES),
    *(("naive", "xla", batch) for batch in (12, 24)),  # at 48, XLA computes half twice to fit
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
    """Returns both attention kernels at both branches' lengths."""
    parts: dict[str, Part] = {}
    for size in (IMAGE_SIZE, LOCAL_SIZE):
        tokens = 1 + B16.patches_per_side(size, STRIDE) ** 2
        queries = (shape(batch, tokens, B16.heads, B16.hidden // B16.heads),) * 3
        for name in ("xla", "splash"):
            parts[f"attention {name}, {tokens} tokens"] = gradient(KERNELS[name], 0, 1, 2), queries
    return parts


def patch_parts(batch: int) -> dict[str, Part]:
    """Returns both ways to embed patches, with only the kernel's gradient, as in training."""
    images = shape(batch, IMAGE_SIZE, IMAGE_SIZE, 3)
    kernel = shape(B16.patch_size, B16.patch_size, 3, B16.hidden)
    brought = shape(batch, SIDE**2, B16.hidden)  # from the backward pass

    def weighted(embed: Callable[..., Array], images: Array, kernel: Array, weight: Array) -> Array:
        return embed(images, kernel, STRIDE) * weight

    return {
        f"patches by {name}": (gradient(partial(weighted, embed), 1), (images, kernel, brought))
        for name, embed in (("product", embed_by_product), ("convolution", embed_by_convolution))
    }


def trunk_parts(batch: int) -> dict[str, Part]:
    """Returns two encoder blocks, the last for the class token alone, by trunk."""

    def encode(module: ViT, patches: Array) -> tuple[Array, list[Any]]:
        observe = Summary(class_row_descriptor)
        return module.encode(patches, train=True, observe=observe)

    parts: dict[str, Part] = {}
    patches = shape(batch, SIDE**2, B16.hidden)
    half = (0.5, 0.5, 0.5)
    given = {"gelu": "tanh", "mean": half, "std": half, "attention": KERNELS["splash"]}
    for kind in TRUNKS:
        fields = {**given, "dtype": jnp.dtype(jnp.bfloat16)}
        trunk = kind(B16._replace(layers=2), 200, IMAGE_SIZE, STRIDE, **fields)
        init = partial(trunk.init, method=encode)
        params = jax.eval_shape(init, jax.random.key(0), patches)
        apply = partial(trunk.apply, method=encode)
        parts[f"two blocks of {kind.__name__}"] = gradient(apply, 0), (params, patches)
    return parts


def side_parts(batch: int) -> dict[str, Part]:
    """Returns the forward pass of everything between the branches."""
    layers = shape(batch, B16.layers, dtype=jnp.float32)
    rows = shape(batch, B16.layers, SIDE**2, dtype=jnp.float32)
    geometry = Geometry(IMAGE_SIZE, B16.patch_size, STRIDE)
    min_box = 2 * B16.patch_size
    how = {"method": "largest_component", "geometry": geometry, "min_box": min_box}
    images = shape(batch, IMAGE_SIZE, IMAGE_SIZE, 3, dtype=jnp.float32)
    boxes = shape(batch, 4, dtype=jnp.int32)
    mask = shape(batch, SIDE, SIDE, dtype=jnp.bool)
    fused = shape(batch, SIDE, SIDE, dtype=jnp.float32)
    return {
        "selection": (partial(SELECTIONS["fused"], keep_ratio=0.2), (layers, rows)),
        "labelling": (partial(locate_region, **how), (mask, fused)),
        "crop": (partial(crop_and_resize, size=LOCAL_SIZE), (images, boxes)),
    }


def steps() -> dict[str, Part]:
    """Returns training steps by case, attention and batch."""
    parts = {}
    for case, attention, batch in STEPS:
        config, _ = resolve_auto(recipe_config("recipe=paper"))
        config.model.attention = attention
        model = CASES[case].make(config, jnp.dtype(jnp.bfloat16))
        _, optimizer = build_optimizer(config)
        create = partial(create_state, optimizer=optimizer, loss_scale=NoLossScale())
        arguments = (
            jax.eval_shape(create, param_shapes(model, IMAGE_SIZE)),
            jax.eval_shape(partial(random_batch, IMAGE_SIZE, batch)),
            jax.eval_shape(partial(jax.random.key, 0)),
        )
        name = f"{case}, {attention}, batch {batch}"
        parts[name] = step_function(model, optimizer, config), arguments
    return parts


def tpu_parts() -> dict[str, Part]:
    """Returns the parts of a step on a batch of `TPU_BATCH`."""
    makers = (attention_parts, patch_parts, side_parts, trunk_parts)
    found = (make(TPU_BATCH).items() for make in makers)
    return {f"{name}, batch {TPU_BATCH}": part for parts in found for name, part in parts}


def account(
    part: Part, sharding: SingleDeviceSharding, compiler_options: Mapping[str, Any]
) -> dict[str, Figure]:
    """Returns the compiler's account of a part, and the seconds that it took."""
    function, arguments = part
    arguments = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), arguments
    )
    # A step's state is donated, as in training; no other argument fits a part's results.
    donated = 0 if isinstance(arguments[0], TrainState) else ()
    lowered = jax.jit(function, donate_argnums=donated).lower(*arguments)
    began = time.perf_counter()
    compiled = lowered.compile(compiler_options=dict(compiler_options))
    found = {"compilation": Figure(round(time.perf_counter() - began, 1), "s")}
    memory = compiled.memory_analysis()
    costs = compiled.cost_analysis() or {}
    assert memory is not None  # a compiler without an account of its memory
    found["temporary"] = Figure(memory.temp_size_in_bytes, "bytes")
    found["executable"] = Figure(executable_bytes(compiled), "bytes")
    if "bytes accessed" in costs:  # not available for a GPU
        found["accessed"] = Figure(costs["bytes accessed"], "bytes")
    return found


def per_image(executables: Mapping[str, int]) -> dict[str, int]:
    """Returns what one more image takes in steps that were compiled at two batch sizes."""
    known: dict[str, dict[int, int]] = {}
    for name, size in executables.items():
        step, _, batch = name.rpartition(", batch ")
        known.setdefault(step, {})[int(batch)] = size
    return {step: each for step, sizes in known.items() if (each := bytes_per_image(sizes))}


def measure(settings: Settings) -> Result:
    """Returns the compiler's account of every part or step for the target."""
    target = aimed(settings.target)
    parts = steps() if target.is_gpu else tpu_parts()
    device = target.devices[0]
    figures = {}
    for name, part in parts.items():
        for what, figure in account(
            part, SingleDeviceSharding(device), target.compiler_options
        ).items():
            figures[f"{name}: {what}"] = figure
            print(name, what, *figure[:2], flush=True)  # at once, since all of them take minutes
    sizes = {name: int(figures[f"{name}: executable"].median) for name in parts}
    more = per_image(sizes).items()
    figures |= {f"{name}: one more image": Figure(size, "bytes") for name, size in more}
    return Result(figures, {}, compiled_for=device.device_kind)
