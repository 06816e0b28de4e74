"""Whether cuDNN's fused attention works here.

Forward and backward at the token counts of both branches, against float32 in XLA.
"""

import itertools

import jax
import jax.numpy as jnp
from jaxtyping import Array

from aftrans_jax.model.attention import AttentionKernel, cudnn_attention, xla_attention
from benchmarks.harness.figures import Figure, Result
from benchmarks.settings import Settings

TOKENS = (1370, 325)  # 448 and 224 px at stride 12
DTYPES = ("bfloat16", "float16")
TOLERANCE = 2e-2  # relative; two roundings to bfloat16 are 8e-3


def differences(kernel: str, num_tokens: int, dtype: str, *, batch: int = 2) -> dict[str, float]:
    """Returns relative errors of the result and of the three gradients against float32.

    There are 12 heads of 64.
    """
    seeds = jax.random.split(jax.random.key(num_tokens), 4)
    exact = [jax.random.normal(seed, (batch, num_tokens, 12, 64)) for seed in seeds]
    rounded = [x.astype(dtype) for x in exact]
    attention = {"cudnn": cudnn_attention, "xla": xla_attention}[kernel]

    def all_of(attention: AttentionKernel, *arrays: Array) -> tuple[Array, ...]:
        out, pullback = jax.vjp(attention, *arrays[:3])
        return out, *pullback(arrays[3])

    found = jax.jit(lambda *x: all_of(attention, *x))(*rounded)
    with jax.default_matmul_precision("highest"):
        wanted = jax.jit(lambda *x: all_of(xla_attention, *x))(
            *(x.astype(jnp.float32) for x in rounded)
        )
    names = ("result", "query gradient", "key gradient", "value gradient")
    return {
        name: float(jnp.linalg.norm(x.astype(jnp.float32) - y) / jnp.linalg.norm(y))
        for name, x, y in zip(names, found, wanted, strict=True)
    }


def measure(settings: Settings) -> Result:
    """Returns the errors of the result and of the gradients, by number of tokens and type.

    Raises:
      ValueError: one is too large, or not a number.
    """
    del settings  # what is computed is what the paper's recipe needs
    errors: dict[str, float] = {}
    wrong: dict[str, str] = {}
    for num_tokens, dtype in itertools.product(TOKENS, DTYPES):
        name = f"{num_tokens} tokens, {dtype}"
        try:
            found = differences("cudnn", num_tokens, dtype)
        except Exception as error:  # of any kind: the next size is still worth a try
            wrong[name] = f"{type(error).__name__}: {str(error)[:500]}"
            continue
        errors |= {f"{name}, {what}": error for what, error in found.items()}
    wrong |= {name: f"{error:.1e}" for name, error in errors.items() if not error <= TOLERANCE}
    if wrong:
        raise ValueError(f"cuDNN's attention is off: {wrong}: expected errors up to {TOLERANCE}")
    errors["largest error"] = max(errors.values())
    figures = {name: Figure(x, "relative", error=x) for name, x in errors.items()}
    return Result(figures, {})
