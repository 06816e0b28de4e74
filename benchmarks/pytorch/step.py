"""The peer's training steps in PyTorch: eager with TransFG's product of maps, and compiled."""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
import torch.nn.functional as F  # noqa: N812, as its users write it
from torch import Tensor, nn

from benchmarks.pytorch.model import (
    Sizes,
    TwoBranchViT,
    fused_attention,
    run_block,
    stored_attention,
)

Forward = Callable[[TwoBranchViT, Tensor], tuple[Tensor, Tensor]]
# As in aftrans_jax/config.py.
LEARNING_RATE = 0.03
MOMENTUM = 0.9
CLIP_NORM = 1.0


def normalize(images: Tensor) -> Tensor:
    """Returns pixel values 0..255 as float32 numbers from -1 to 1."""
    return images.float() / 127.5 - 1


@torch.no_grad()
def chain_row(maps: Sequence[Tensor]) -> Tensor:
    """Returns the class row [batch heads patches] of the product of the layers' full maps.

    As in TransFG's part selection, without the last layer's map; outside autograd, which favours
    PyTorch over the public code and gives the same row.
    """
    product = maps[0]
    for weights in maps[1:-1]:
        product = weights @ product
    return product[:, :, 0, 1:]


def chain_flops(sizes: Sizes) -> int:
    """Returns the FLOP of `chain_row` for one image."""
    tokens = 1 + sizes.grids[0] ** 2
    return 2 * max(sizes.variant.layers - 2, 0) * sizes.variant.heads * tokens**3


def box_around(row: Tensor, sizes: Sizes) -> Tensor:
    """Returns the box [batch 4] in pixels, half-open, of the patches above the mean over heads.

    It covers all of them and stays on the device; public code labels components on the host.
    """
    relevance = row.float().mean(dim=1)
    side = sizes.grids[0]
    mask = (relevance > relevance.mean(dim=1, keepdim=True)).view(-1, side, side).int()
    edges = [
        edge
        for line in (mask.amax(dim=2), mask.amax(dim=1))  # rows, columns
        for edge in (line.argmax(dim=1), side - 1 - line.flip(1).argmax(dim=1))
    ]
    top, bottom, left, right = (sizes.stride * edge for edge in edges)
    patch = sizes.variant.patch_size
    return torch.stack([top, left, bottom + patch, right + patch], dim=1)


def crop(images: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Returns boxes of images [batch 3 height height] resized, by one bilinear sampling."""
    batch, channels, height, _ = images.shape
    top, left, bottom, right = boxes.float().T / height
    zero = torch.zeros_like(top)
    across = torch.stack([right - left, zero, left + right - 1], dim=1)
    down = torch.stack([zero, bottom - top, top + bottom - 1], dim=1)
    affine = torch.stack([across, down], dim=1)
    grid = F.affine_grid(affine, [batch, channels, side, side], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", align_corners=False)


def stored_maps(model: TwoBranchViT, images: Tensor) -> tuple[Tensor, Tensor]:
    """Returns both branches' logits; the local branch sees the box from the product of maps."""
    images = normalize(images)
    first, maps = model(images, 0, stored_attention)
    row = chain_row([weights for weights in maps if weights is not None])
    crops = crop(images, box_around(row, model.sizes), model.sizes.local_size)
    return first, model(crops, 1, stored_attention)[0]


def two_passes(model: TwoBranchViT, images: Tensor) -> tuple[Tensor, Tensor]:
    """Returns both branches' logits; the local one sees a corner, which is the least they cost."""
    images = normalize(images)
    side = model.sizes.local_size
    corners = images[:, :, :side, :side]
    return model(images, 0, fused_attention)[0], model(corners, 1, fused_attention)[0]


FORWARDS: Mapping[str, Forward] = MappingProxyType({"eager": stored_maps, "compiled": two_passes})


def loss(forward: Forward, model: TwoBranchViT, images: Tensor, labels: Tensor) -> Tensor:
    """Returns the sum of both branches' mean cross-entropies, as equation 10 with weights of 1."""
    first, second = forward(model, images)
    return F.cross_entropy(first, labels) + F.cross_entropy(second, labels)


class Step:
    """A training step of one of `FORWARDS`; each call is one more step, and is awaited.

    Attributes:
      note: whether and why compilation fell back; usually empty.
    """

    def __init__(self, name: str, sizes: Sizes, batch: int, *, dtype: str, device: str) -> None:
        """Builds the model with random weights and runs, or compiles, the first step."""
        self.note = ""
        self._forward = FORWARDS[name]
        self._device = device
        torch.manual_seed(0)
        with torch.device(device):
            self._model = TwoBranchViT(sizes, getattr(torch, dtype))
            shape = (batch, 3, sizes.image_size, sizes.image_size)
            self._images = torch.randint(0, 256, shape, dtype=torch.uint8)
            self._labels = torch.randint(0, sizes.num_classes, (batch,))
        self._sgd = torch.optim.SGD(self._model.parameters(), LEARNING_RATE, MOMENTUM)
        if name == "compiled":
            self._compile()
        assert math.isfinite(self()), "the loss is not finite"

    def _compile(self) -> None:
        self._model.run_block = torch.compile(run_block, dynamic=False)
        try:
            self()
        except torch._dynamo.exc.TorchDynamoException as error:
            self._model.run_block = run_block
            reason = str(error).strip().split("\n")[0]
            self.note = f"torch.compile failed, so this is eager: {reason}"

    def state_bytes(self) -> int:
        """Returns the bytes that stay between steps: parameters, gradients, momentum, the batch."""
        parameters = sum(4 * parameter.numel() for parameter in self._model.parameters())
        return 3 * parameters + self._images.nbytes + self._labels.nbytes

    def __call__(self) -> float:
        self._sgd.zero_grad()
        value = loss(self._forward, self._model, self._images, self._labels)
        value.backward()
        nn.utils.clip_grad_norm_(self._model.parameters(), CLIP_NORM)
        self._sgd.step()
        if self._device == "cuda":
            torch.cuda.synchronize()
        return value.item()
