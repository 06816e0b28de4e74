"""Whether cuDNN's fused attention works here: `python -m benchmarks.cudnn_check`; exits 1 if not.

Forward and backward at the token counts of both branches, against float32 in XLA.
"""

import argparse
import importlib.metadata
import sys

import jax
import jax.numpy as jnp
from jaxtyping import Array

from aftrans_jax.model.attention import cudnn_attention, xla_attention

TOKENS = (1370, 325)  # 448 and 224 px at stride 12
DTYPES = ("bfloat16", "float16")
TOLERANCE = 2e-2  # relative; two roundings to bfloat16 are 8e-3
PACKAGES = ("jax", "jaxlib", "jax-cuda13-plugin", "jax-cuda12-plugin", "nvidia-cudnn")


def differences(kernel: str, num_tokens: int, dtype: str, *, batch: int = 2) -> dict[str, float]:
    """Returns relative errors of the result and of the three gradients against float32.

    Args:
      kernel: "cudnn" or "xla".
      num_tokens: of queries and keys; 12 heads of 64.
      dtype: of the computation.
      batch: number of images.
    """
    seeds = jax.random.split(jax.random.key(num_tokens), 4)
    exact = [jax.random.normal(seed, (batch, num_tokens, 12, 64)) for seed in seeds]
    rounded = [x.astype(dtype) for x in exact]
    attention = {"cudnn": cudnn_attention, "xla": xla_attention}[kernel]

    def all_of(attention, *arrays: Array) -> tuple[Array, ...]:
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


def versions() -> dict[str, str]:
    """Returns the installed versions of what the kernel comes from."""
    installed = {
        package.metadata["Name"].lower(): package.version
        for package in importlib.metadata.distributions()
    }
    return {name: x for name, x in sorted(installed.items()) if name.startswith(PACKAGES)}


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0]).parse_args()
    print(f"{jax.device_count()} x {jax.devices()[0].device_kind}", versions())
    if jax.default_backend() != "gpu":
        sys.exit(f"error: no GPU, jax runs on {jax.default_backend()}: cuDNN attention needs one")
    failed = False
    for num_tokens in TOKENS:
        for dtype in DTYPES:
            try:
                found = differences("cudnn", num_tokens, dtype)
            except Exception as error:  # whatever it is, the next size is worth a try
                print(f"{num_tokens} tokens, {dtype}: {type(error).__name__}: {str(error)[:500]}")
                failed = True
                continue
            wrong = not all(value <= TOLERANCE for value in found.values())  # NaN is wrong too
            failed |= wrong
            shown = "  ".join(f"{name} {value:.1e}" for name, value in found.items())
            print(f"{num_tokens} tokens, {dtype}: {shown}  {'WRONG' if wrong else 'fine'}")
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
