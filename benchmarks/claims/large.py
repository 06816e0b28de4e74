r"""Memory and exchanges of each of many devices in a step of ViT-L and ViT-H, by the compiler.

    pip install "jax[tpu]"; python -m benchmarks large --target=v5e:2x4x1
    python -m benchmarks large --target=v5e:8x8x1 --only='l16, fsdp, remat blocks' \
        --results=benchmarks/results/chips_64
    pip install "jax[cuda12]"; python -m benchmarks large --target=h100_sxm.txtpb

Nothing runs: see `claims/ahead.py`. AFTrans reads 448 px and crops of 224 px, patches without
overlap, SGD, in bfloat16, with 8 images a device. A target in XLA's own file means 8 of its GPUs.
"""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from aftrans_jax.config import base_config
from aftrans_jax.experiment.auto_settings import resolve_auto
from aftrans_jax.experiment.model import build_model
from aftrans_jax.experiment.optimization import build_optimizer
from aftrans_jax.model.variants import VARIANTS
from aftrans_jax.training.compilation import compiled_step
from aftrans_jax.training.precision import NoLossScale
from aftrans_jax.training.sharding import BATCH_SPLIT, STRATEGIES, device_mesh, shardings
from aftrans_jax.training.state import create_state
from benchmarks.harness.figures import Figure, Result
from benchmarks.harness.hlo import collectives
from benchmarks.harness.memory import executable_bytes
from benchmarks.harness.target import Target, aimed
from benchmarks.models.cases import NUM_CLASSES
from benchmarks.models.training import gradients_function, param_shapes, random_batch
from benchmarks.settings import Settings

GPUS = "1x1x8"
IMAGES = 8
IMAGE_SIZE = 448
LOCAL_SIZE = 224
WAYS = {  # variant, train.sharding, model.remat
    f"{variant}, {sharding}, remat {remat}": (variant, sharding, remat)
    for variant, sharding, remat in (
        ("l16", "fsdp", "blocks"),
        ("h14", "fsdp", "blocks"),
        ("l16", "replicated", "blocks"),
        ("h14", "replicated", "blocks"),
        ("l16", "fsdp", "none"),
        ("l16", "replicated", "none"),
    )
}


def compiled(target: Target, variant: str, sharding: str, remat: str) -> jax.stages.Compiled:
    """Returns a step of a variant, compiled for all devices of a target."""
    config = base_config()
    config.model.variant = variant
    config.model.gelu = "tanh"
    config.model.stride = VARIANTS[variant].patch_size
    config.model.attention = target.attention
    config.model.remat = remat
    config.data.image_size = config.data.source_size = IMAGE_SIZE
    config.data.local_size = LOCAL_SIZE
    config.train.sharding = sharding
    config, _ = resolve_auto(config)
    model = build_model(config, NUM_CLASSES, jnp.dtype(jnp.bfloat16))
    _, optimizer = build_optimizer(config)
    create = partial(create_state, optimizer=optimizer, loss_scale=NoLossScale())
    state = jax.eval_shape(create, param_shapes(model, IMAGE_SIZE))
    mesh = device_mesh(target.devices)
    strategy = STRATEGIES[sharding](state, mesh)
    batch = jax.eval_shape(partial(random_batch, IMAGE_SIZE, IMAGES * mesh.size))
    given = (
        shardings(strategy.specs, mesh),
        jax.tree.map(lambda _: NamedSharding(mesh, BATCH_SPLIT), batch),
    )
    arguments = jax.tree.map(
        lambda x, lies: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=lies), (state, batch), given
    )
    gradients = gradients_function(model, config, strategy)
    step = compiled_step(gradients, optimizer, seed=0, strategy=strategy, mesh=mesh)
    lowered = step.lower(*arguments)
    return lowered.compile(compiler_options=dict(target.compiler_options))


def account(program: jax.stages.Compiled) -> tuple[dict[str, Figure], Mapping[str, Any]]:
    """Returns what a device holds and exchanges with others during a step, and how often."""
    memory = program.memory_analysis()
    assert memory is not None  # a compiler without an account of its memory
    found = collectives(program.as_text() or "")
    kinds = {one.kind: [other for other in found if other.kind == one.kind] for one in found}
    figures = {
        "state and batch": Figure(memory.argument_size_in_bytes, "bytes a device"),
        "beside them": Figure(memory.temp_size_in_bytes, "bytes a device"),
        "in all": Figure(executable_bytes(program), "bytes a device"),
        **{
            kind: Figure(sum(one.num_bytes for one in some), "bytes a device")
            for kind, some in kinds.items()
        },
    }
    return figures, {kind: len(some) for kind, some in kinds.items()}


def measure(settings: Settings) -> Result:
    """Returns the account of every way to shard and to recompute, for the target."""
    target = aimed(settings.target, gpus=GPUS)
    figures = {}
    counts = {}
    for name in settings.pick(WAYS, WAYS):
        began = time.perf_counter()
        found, counts[name] = account(compiled(target, *WAYS[name]))
        found["compilation"] = Figure(round(time.perf_counter() - began, 1), "s")
        figures |= {f"{name}: {what}": figure for what, figure in found.items()}
        print(name, {what: figure.median for what, figure in found.items()}, flush=True)
    details = {
        "devices": len(target.devices),
        **{"images a device": IMAGES, "precision": "bfloat16"},
        **{"image size": IMAGE_SIZE, "local size": LOCAL_SIZE},
        "attention": target.attention,
        "collectives": counts,
    }
    return Result(figures, details, compiled_for=target.devices[0].device_kind)
