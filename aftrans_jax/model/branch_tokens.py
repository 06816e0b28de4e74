"""The parameters that branches do not share: class tokens and position embeddings."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from aftrans_jax.model.variants import Variant


class BranchTokens(NamedTuple):
    """A branch's class tokens [1 C hidden] and position embedding [1 C+N hidden].

    C is 1, but for RAMS-Trans.

    Paper: fig. 2, the parameters that the two branches do not share.
    """

    cls: Array
    pos_embedding: Array


class LocalTokens(nn.Module):
    """The local branch's own class token and position embedding.

    Attributes:
      variant: sizes of the trunk.
      local_size: side of the local branch's images in pixels.
      stride: distance between patches in pixels.

    Paper: section 2.2.2 and fig. 2.

    Choice: local class token and positions start as the pretrained trunk's; the paper is silent.
    """

    variant: Variant
    local_size: int
    stride: int

    @nn.compact
    def __call__(self) -> BranchTokens:
        hidden = self.variant.hidden
        cls = self.param("cls", nn.initializers.zeros_init(), (1, 1, hidden), jnp.float32)
        num_tokens = 1 + self.variant.patches_per_side(self.local_size, self.stride) ** 2
        shape = (1, num_tokens, hidden)
        drawn = nn.initializers.normal(0.02)
        return BranchTokens(cls, self.param("pos_embedding", drawn, shape, jnp.float32))
