"""Compiler options for XLA, where its defaults are slow."""

import functools
from collections.abc import Mapping
from types import MappingProxyType

import jax

# Turns off YNNPACK fusions, which jaxlib 0.10 began to make on CPUs: when a compiled program is
# loaded, each one is searched for among all instructions. Without them, a start from the cache
# takes three quarters of the time to its first step (`python -m benchmarks start`: 16 s instead
# of 22); steps are as fast.
_ON_CPUS: Mapping[str, str] = MappingProxyType({"xla_cpu_experimental_ynn_fusion_type": ""})


def xla_options(platform: str) -> dict[str, str]:
    """Returns the options for `jax.jit` on a platform's devices, such as "cpu"."""
    return dict(_ON_CPUS) if platform == "cpu" and _is_known() else {}


@functools.cache
def _is_known() -> bool:
    """Whether this jaxlib knows the options for CPUs: unknown ones are compilation errors."""
    try:
        jax.jit(lambda: 0, compiler_options=dict(_ON_CPUS)).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
