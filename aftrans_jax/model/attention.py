"""Multi-head attention; the kernel is chosen here and only here."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aftrans_jax.model.devices import compute_capability, default_device

# A TPU register's width, of which splash's blocks are multiples, and their largest size.
LANES = 128
SPLASH_BLOCK = 512
# The compute capability from which NVIDIA's GPUs have bfloat16, and cuDNN's attention runs.
AMPERE = 8.0

AttentionKernel = Callable[[Array, Array, Array], Array]


def xla_attention(
    query: Float[Array, "batch queries heads head_dim"],
    key: Float[Array, "batch tokens heads head_dim"],
    value: Float[Array, "batch tokens heads head_dim"],
) -> Float[Array, "batch queries heads head_dim"]:
    """Returns softmax(q k / sqrt(head_dim)) v per head, from XLA's own operations.

    The backward pass computes it again, so that no layer's attention map is kept until then; on
    CPUs XLA merges this with the forward pass, and keeps the maps (jax 0.10.2). It runs everywhere;
    `jax.nn`'s own XLA attention has no float16 on CPU.

    Paper: eq. 2.
    """
    return jax.checkpoint(_attend)(query, key, value)


def _attend(query: Array, key: Array, value: Array) -> Array:
    weights = jax.nn.softmax(scores(query, key, "bqhd,bkhd->bhqk"), axis=-1)
    return jnp.einsum("bhqk,bkhd->bqhd", weights.astype(value.dtype), value)


def cudnn_attention(
    query: Float[Array, "batch queries heads head_dim"],
    key: Float[Array, "batch tokens heads head_dim"],
    value: Float[Array, "batch tokens heads head_dim"],
) -> Float[Array, "batch queries heads head_dim"]:
    """Returns what `xla_attention` does, from cuDNN's fused kernel.

    There are as many queries as keys, or a single one, which gains nothing from the kernel and
    stays in XLA. In training JAX refuses odd numbers of tokens, since its rule for a bias sees the
    empty array that stands for none (0.7.2, 0.10.2, 0.11.2). So a token is added that nothing
    attends to.
    """
    num_tokens = query.shape[1]
    if num_tokens == 1:
        return xla_attention(query, key, value)
    attend = partial(jax.nn.dot_product_attention, implementation="cudnn")
    if num_tokens % 2 == 0:
        return attend(query, key, value)
    padded = (jnp.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0))) for x in (query, key, value))
    num_keys = jnp.full(query.shape[0], num_tokens, jnp.int32)
    return attend(*padded, key_value_seq_lengths=num_keys)[:, :-1]


def splash_attention(
    query: Float[Array, "batch queries heads head_dim"],
    key: Float[Array, "batch tokens heads head_dim"],
    value: Float[Array, "batch tokens heads head_dim"],
    *,
    interpret: bool = False,
) -> Float[Array, "batch queries heads head_dim"]:
    """Returns what `xla_attention` does, from the fused kernel for TPUs, v4 and later.

    The kernel takes whole blocks of tokens, here of at most 512, which fit the memory of every such
    TPU. Padding is a segment of its own: no real query sees a padded key, and the rows of padded
    queries are cut off. There are as many queries as keys, or a single one, which stays in XLA.
    `interpret` emulates the kernel, as tests do on a CPU.
    """
    if query.shape[1] == 1:
        return xla_attention(query, key, value)
    from jax.experimental.pallas.ops.tpu import splash_attention as splash  # for TPUs alone

    _, num_tokens, num_heads, head_dim = query.shape
    num_blocks = -(-num_tokens // SPLASH_BLOCK)
    block = -(-num_tokens // (num_blocks * LANES)) * LANES
    padded = num_blocks * block

    def arranged(x: Array) -> Array:
        x = jnp.pad(x, ((0, 0), (0, padded - num_tokens), (0, 0), (0, 0)))
        return x.swapaxes(1, 2)  # tokens, heads -> heads, tokens

    kernel = splash.make_splash_mha_single_device(
        splash.MultiHeadMask([splash.FullMask((padded, padded))] * num_heads),
        block_sizes=splash.BlockSizes(
            block_q=block,
            block_kv=block,
            block_q_dkv=block,
            block_kv_dkv=block,
            block_q_dq=block,
            block_kv_dq=block,
        ),
        interpret=interpret,
    )
    segment = (jnp.arange(padded) < num_tokens).astype(jnp.int32)
    attended = jax.vmap(kernel, in_axes=(0, 0, 0, None))(
        arranged(query * head_dim**-0.5),
        arranged(key),
        arranged(value),
        splash.SegmentIds(segment, segment),
    )
    return cast(Array, attended).swapaxes(1, 2)[:, :num_tokens]


def auto_attention(
    query: Float[Array, "batch queries heads head_dim"],
    key: Float[Array, "batch tokens heads head_dim"],
    value: Float[Array, "batch tokens heads head_dim"],
) -> Float[Array, "batch queries heads head_dim"]:
    """Returns what `xla_attention` does, from the kernel that `automatic_kernel` names.

    The kernel is chosen when a model is traced, not when it is made: a model holds no device.
    """
    return KERNELS[automatic_kernel(query.dtype)](query, key, value)


KERNELS: Mapping[str, AttentionKernel] = MappingProxyType(
    {
        "auto": auto_attention,
        "xla": xla_attention,
        "cudnn": cudnn_attention,
        "splash": splash_attention,
    }
)


class Needs(NamedTuple):
    """The requirements of a fused kernel.

    Attributes:
      platform: JAX's name of the platform.
      device: the device in words.
      dtypes: names of computation types.
      capability: the least compute capability, of NVIDIA's GPUs; 0 where the device has none.
    """

    platform: str
    device: str
    dtypes: tuple[str, ...]
    capability: float = 0.0

    def met_by(self, dtype: jnp.dtype) -> bool:
        """Returns whether the kernel runs here in a type."""
        device = default_device()
        capable = (compute_capability(device) or 0.0) >= self.capability
        return device.platform == self.platform and capable and jnp.dtype(dtype).name in self.dtypes


# The compiler for TPUs refuses splash in float16 (libtpu 0.0.23 and 0.0.48).
FUSED: Mapping[str, Needs] = MappingProxyType(
    {
        "cudnn": Needs(
            "gpu",
            f"a CUDA GPU of compute capability {AMPERE} or later",
            ("bfloat16", "float16"),
            AMPERE,
        ),
        "splash": Needs("tpu", "a TPU", ("bfloat16", "float32")),
    }
)


def automatic_kernel(dtype: jnp.dtype) -> str:
    """Returns the name of the fused kernel that runs here in a type, else "xla".

    A fused kernel stores nothing of size tokens x tokens.
    """
    return next((name for name, needs in FUSED.items() if needs.met_by(dtype)), "xla")


def check_kernel(name: str, dtype: jnp.dtype) -> None:
    """Checks that the kernel of `model.attention` runs here in a type.

    Raises:
      ValueError: the kernel does not run here.
    """
    needs = FUSED.get(name)
    if needs is not None and not needs.met_by(dtype):
        kind = default_device().device_kind
        raise ValueError(
            f"model.attention={name!r} needs {needs.device} and {' or '.join(needs.dtypes)}; this "
            f"is {kind} in {jnp.dtype(dtype).name}: use --config.model.attention=auto"
        )


def scores(query: Array, key: Array, pattern: str, precision: str | None = None) -> Array:
    """Returns q k / sqrt(head_dim) in float32, the axes as an einsum pattern says.

    `precision` is `jax.lax.Precision`'s; by default float32 is multiplied as TF32 or bfloat16 on
    devices that do.

    Paper: eq. 5, before the softmax.

    Choice: scores are divided by sqrt(head width), as in ViT; eq. 5's D is the embedding's width.
    """
    products = jnp.einsum(
        pattern, query, key, preferred_element_type=jnp.float32, precision=precision
    )
    return products * query.shape[-1] ** -0.5
