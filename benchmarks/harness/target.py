"""Targets of compilation: devices that are not on this machine."""

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

from benchmarks.harness.errors import LeftOutError


class Target(NamedTuple):
    """Devices that are not on this machine, with what to compile for them.

    attention: their fused attention kernel.
    """

    devices: Sequence[Any]
    is_gpu: bool
    attention: str
    compiler_options: Mapping[str, Any]


def aimed(target: str | None, *, gpus: str = "1x1x1") -> Target:
    """Returns the devices that `--target` names.

    Args:
      target: a topology of TPUs, or a file that describes a GPU.
      gpus: topology of such GPUs.

    Raises:
      LeftOutError: no target is given, or there is no compiler for it.
    """
    if not target:
        raise LeftOutError(
            "give a --target to compile for: v5e:2x2x1, or an XLA file h100_sxm.txtpb"
        )
    jax.config.update("jax_platforms", "cpu")  # so that JAX does not search for a device
    if target.endswith(".txtpb"):
        described = Path(target).read_text(encoding="utf-8")
        topology = topologies.get_topology_desc(
            "gpu", "cuda", topology=gpus, target_config=described
        )
        options = {"xla_gpu_enable_triton_gemm": False}
        return Target(topology.devices, is_gpu=True, attention="cudnn", compiler_options=options)
    if importlib.util.find_spec("libtpu"):
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is no metadata server to ask
        os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
        topology = topologies.get_topology_desc(target, "tpu")
        return Target(topology.devices, is_gpu=False, attention="splash", compiler_options={})
    raise LeftOutError("libtpu is not installed, which holds the compiler: pip install 'jax[tpu]'")
