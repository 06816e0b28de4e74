"""A trained model as a program that runs without this package: StableHLO or ONNX."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Array

from aftrans_jax.experiment.model import MODELS
from aftrans_jax.files import write_bytes
from aftrans_jax.inference.batch_outputs import batch_outputs
from aftrans_jax.inference.trained_model import Trained, check_head
from aftrans_jax.json_files import write_json
from aftrans_jax.model.attention import KERNELS
from aftrans_jax.model.outputs import Images

PLATFORMS = ("cpu", "cuda", "tpu")
INSTALL_ONNX = (
    "pip install --no-deps jax2onnx && pip install chex dm-pix equinox onnx onnx-ir onnxruntime"
)
_OPSET = 23
# Bytes of parameters: programs are stored as flatbuffers or protobuf, which end at 2 GiB.
LARGEST = 2**31 - 2**24
_MEANINGS = MappingProxyType(
    {
        "probabilities": "of the classes, by the {logits} logits",
        "box": "the region, (top, left, bottom, right), half-open, in pixels of the images",
        "relevance": "of each patch, >= 0",
    }
)

Outputs = dict[str, Array]


def program(trained: Trained, logits: str, *, with_region: bool) -> Callable[[Images], Outputs]:
    """Returns a function from images to the outputs of the exported program, by name.

    These are `probabilities` [batch classes] of the chosen logits and, with the region, `box`
    [batch 4] and `relevance` [batch rows cols], see `model.outputs.Region`.

    Args:
      trained: model and parameters, which become constants of the program.
      logits: "global", "local" or "sum".
      with_region: whether to add `box` and `relevance`.

    Raises:
      ValueError: the model has no such logits, or no region.
    """
    check_head(trained, logits)
    if with_region and not MODELS[trained.name].crops:
        raise ValueError(
            f"--region: the run's model.name is {trained.name!r}, which looks at no region; leave "
            "it out"
        )
    # Attention kernels for one kind of device do not run on others.
    portable = trained.model.vit.clone(attention=KERNELS["xla"])
    model = trained.model.clone(vit=portable)
    params = jax.tree.map(jnp.asarray, trained.params)

    wanted = ("box", "relevance") if with_region else ()

    def run(images: Images) -> Outputs:
        outputs = batch_outputs(model, logits, wanted, params, images, trained.mirror)
        return outputs | {"probabilities": outputs["probabilities"][logits]}

    return run


def write_program(
    path: Path, trained: Trained, kind: str, logits: str, *, with_region: bool
) -> None:
    """Writes a program, and `<path>.json`, which describes its inputs and outputs.

    Args:
      path: path of the file; its folder must exist.
      trained: the model.
      kind: "stablehlo", for `jax.export.deserialize`, any batch and all of `PLATFORMS`; or "onnx",
        for any batch.
      logits: "global", "local" or "sum"; ONNX only has the global ones.
      with_region: see `program`.

    Raises:
      ValueError: the model has no such logits or region, or too many parameters; or the kind is
        "onnx", and more than the global logits is wanted or jax2onnx is not installed.
    """
    run = program(trained, logits, with_region=with_region)
    side = trained.sizes["image_size"]
    if kind == "onnx" and (with_region or logits != "global"):
        raise ValueError(
            "--format=onnx: jax2onnx does not convert the labelling of the region, so that only "
            "the global logits can be exported; use --logits=global without --region, or "
            "--format=stablehlo"
        )
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(trained.params))
    if size > LARGEST:
        raise ValueError(
            f"--format={kind}: the parameters have {size:,} bytes, and a program has to hold less "
            "than 2 GiB; use --format=aftrans, or train a smaller model.variant"
        )
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.uint8)
    outputs = jax.eval_shape(run, images)
    content = _PROGRAMS[kind](run, side, list(outputs))
    write_bytes(path, content)
    write_json(path.with_name(f"{path.name}.json"), _description(trained, logits, outputs))


def _stablehlo(run: Callable[[Images], Outputs], side: int, names: list[str]) -> bytes:
    del names  # the program gives a dictionary
    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, side, side, 3), jnp.uint8)
    return bytes(export.export(jax.jit(run), platforms=PLATFORMS)(images).serialize())


def _onnx(run: Callable[[Images], Outputs], side: int, names: list[str]) -> bytes:
    try:
        from jax2onnx import to_onnx
    except ImportError as error:
        raise ValueError(
            f"--format=onnx needs jax2onnx ({error}). It asks for an orbax-checkpoint that is "
            f"older than this package's, so install it beside that: `{INSTALL_ONNX}`"
        ) from error
    images = jax.ShapeDtypeStruct(("batch", side, side, 3), jnp.uint8)
    model = to_onnx(run, [images], opset=_OPSET, input_names=["images"], output_names=names)
    return cast(Any, model).SerializeToString()


_PROGRAMS = MappingProxyType({"stablehlo": _stablehlo, "onnx": _onnx})


def _description(
    trained: Trained, logits: str, outputs: Mapping[str, jax.ShapeDtypeStruct]
) -> dict[str, Any]:
    side = trained.sizes["image_size"]
    resized = trained.sizes["resize_size"]
    middle = "" if side == resized else f", of which the middle {side} x {side} is taken"
    return {
        "images": {
            "shape": ["batch", side, side, 3],
            "dtype": "uint8",
            "meaning": f"RGB photos, upright, shrunk with antialiasing to {resized} x {resized} px"
            f"{middle}",
        },
        "outputs": {
            name: {"shape": ["batch", *output.shape[1:]], "dtype": output.dtype.name}
            | {"meaning": _MEANINGS[name].format(logits=logits)}
            for name, output in outputs.items()
        },
        "class_names": trained.class_names,
        "step": trained.result.get("step"),
        "accuracy": trained.result.get(f"{logits}_accuracy"),
    }
