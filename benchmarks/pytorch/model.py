"""The peer's model in PyTorch: the same trunk on two branches, with all maps stored or none.

This is our own code, compared with our model by the tests. Where there is a choice, the one that
favours PyTorch is made: one product for queries, keys and values, the scale applied to the queries,
and softmax in half precision.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812, as its users write it
from torch import Tensor, nn

from aftrans_jax.model.variants import Variant

Attend = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor | None]]


class Sizes(NamedTuple):
    """The sizes of the model: trunk, sides of both branches and the stride in pixels."""

    variant: Variant
    num_classes: int
    image_size: int
    local_size: int
    stride: int

    @property
    def grids(self) -> tuple[int, int]:
        """Returns the patches per side of both branches."""
        sides = (self.image_size, self.local_size)
        first, second = (self.variant.patches_per_side(side, self.stride) for side in sides)
        return first, second


class Linear(nn.Linear):
    """A linear layer in the type of its input, from float32 parameters, as in flax."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype))


class Convolution(nn.Conv2d):
    """A convolution in the type of its input, from float32 parameters, as in flax."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight.to(x.dtype), self.bias.to(x.dtype), self.stride)


class Norm(nn.LayerNorm):
    """A layer norm in the type of its input, from float32 parameters, as in flax."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.to(x.dtype)
        bias = self.bias.to(x.dtype)
        return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps)


def stored_attention(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Returns attended values and the map [batch heads tokens tokens], as in TransFG."""
    weights = (query * query.shape[-1] ** -0.5 @ key.transpose(-1, -2)).softmax(dim=-1)
    return weights @ value, weights


def fused_attention(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, None]:
    """Returns attended values and no map; PyTorch picks the fused kernel."""
    return F.scaled_dot_product_attention(query, key, value), None


class Block(nn.Module):
    """Attention and MLP, pre-normed, each with a residual."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.heads = variant.heads
        hidden = variant.hidden
        self.norm_attention = Norm(hidden, eps=1e-6)
        self.qkv = Linear(hidden, 3 * hidden)
        self.out = Linear(hidden, hidden)
        self.norm_mlp = Norm(hidden, eps=1e-6)
        self.mlp_in = Linear(hidden, variant.mlp)
        self.mlp_out = Linear(variant.mlp, hidden)

    def forward(self, tokens: Tensor, attend: Attend) -> tuple[Tensor, Tensor | None]:
        batch, num_tokens, hidden = tokens.shape
        qkv = self.qkv(self.norm_attention(tokens))
        qkv = qkv.view(batch, num_tokens, 3, self.heads, hidden // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended, weights = attend(query, key, value)
        tokens = tokens + self.out(attended.transpose(1, 2).reshape(batch, num_tokens, hidden))
        inner = F.gelu(self.mlp_in(self.norm_mlp(tokens)), approximate="tanh")
        return tokens + self.mlp_out(inner), weights


def run_block(block: nn.Module, tokens: Tensor, attend: Attend) -> tuple[Tensor, Tensor | None]:
    """Returns a block's results; compiled once a length, as full passes compile for minutes."""
    return block(tokens, attend)


class TwoBranchViT(nn.Module):
    """One trunk, with a class token and positions for each branch; every block sees every token.

    Attributes:
      run_block: `run_block`, or its compiled form.
    """

    def __init__(self, sizes: Sizes, dtype: torch.dtype) -> None:
        super().__init__()
        self.sizes = sizes
        self.dtype = dtype
        self.run_block = run_block
        variant = sizes.variant
        self.embedding = Convolution(3, variant.hidden, variant.patch_size, sizes.stride)
        self.cls = nn.ParameterList(torch.zeros(1, 1, variant.hidden) for _ in sizes.grids)
        self.positions = nn.ParameterList(
            torch.randn(1, 1 + side**2, variant.hidden) * 0.02 for side in sizes.grids
        )
        self.blocks = nn.ModuleList(Block(variant) for _ in range(variant.layers))
        self.norm = Norm(variant.hidden, eps=1e-6)
        self.head = Linear(variant.hidden, sizes.num_classes)

    def forward(
        self, images: Tensor, branch: int, attend: Attend
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Returns float32 logits of normalised images [batch 3 side side], and all layers' maps."""
        patches = self.embedding(images.to(self.dtype)).flatten(2).transpose(1, 2)
        cls = self.cls[branch].to(self.dtype).expand(len(images), -1, -1)
        tokens = torch.cat([cls, patches], dim=1) + self.positions[branch].to(self.dtype)
        maps = []
        for block in self.blocks:
            tokens, weights = self.run_block(block, tokens, attend)
            maps.append(weights)
        return self.head(self.norm(tokens)[:, 0].float()), maps
