"""What XLA is asked for, where by itself it keeps people waiting."""

import functools
from collections.abc import Mapping
from types import MappingProxyType

import jax

# No fusions of YNNPACK, which jaxlib 0.10 began to make on CPUs: of a compiled program that is
# loaded, each is looked for among all instructions. A start that compiles nothing takes three
# quarters of the time to its first step without them (`python -m benchmarks start`: 16 s, 22
# before); steps are as fast.
_ON_CPUS: Mapping[str, str] = MappingProxyType({"xla_cpu_experimental_ynn_fusion_type": ""})


def xla_options(platform: str) -> dict[str, str]:
    """Returns the options for `jax.jit` of what runs on devices of a platform, such as "cpu"."""
    return dict(_ON_CPUS) if platform == "cpu" and _is_known() else {}


@functools.cache
def _is_known() -> bool:
    """Whether this jaxlib knows the options for CPUs: it refuses to compile with unknown ones."""
    try:
        jax.jit(lambda: 0, compiler_options=dict(_ON_CPUS)).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
