"""AFTrans: global pass -> region -> local pass, one trunk for both."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from aftrans_jax.model.branch_tokens import LocalTokens
from aftrans_jax.model.class_row import DESCRIPTORS, Summary
from aftrans_jax.model.crops import crop_and_resize, resample_relevance
from aftrans_jax.model.outputs import Images, ModelOutput, Region
from aftrans_jax.model.regions import find_region
from aftrans_jax.model.sacm import SACM, SELECTIONS, relevance
from aftrans_jax.model.vit import ViT, class_feature


def straight_through_scale(
    patches: Float[Array, "batch patches hidden"], weight: Float[Array, "batch patches"]
) -> Float[Array, "batch patches hidden"]:
    """Returns the patches bit for bit; `weight` receives the gradient that a factor of them would.

    The gradient of the patches themselves is unchanged.

    Choice: a straight-through gradient for the gate; box and crop pass it none (section 2.2.2).
    """
    zero = weight - jax.lax.stop_gradient(weight)
    return patches + zero[..., None].astype(patches.dtype) * patches


class AFTrans(nn.Module):
    """Adaptive attention multi-scale fusion transformer.

    Attributes:
      vit: the trunk; patch projection, blocks, norm and head serve both branches.
      local_size: side of the crop that the local branch sees, in pixels.
      keep_ratio: share that the selection keeps, in (0, 1]; of what, see `sacm.SELECTIONS`.
      reduction: number of layers over the width of the gate's hidden layer.
      min_box: shorter side, in pixels of the global image, that a box must have; one with a smaller
        side becomes the whole image.
      head_fusion, descriptor, selection, gate, region_method, resample: names from
        `sacm.HEAD_FUSIONS`, `class_row.DESCRIPTORS`, `sacm.SELECTIONS`, `sacm.GATES`,
        `regions.REGION_METHODS` and `resize.RESAMPLES`.
      layers: numbers, from 1 on, of the layers whose class rows are fused; none: all. The gates'
        MLP reads all of them in any case: neither parameters nor gates depend on `layers`.

    Paper: section 2.2, fig. 2.
    """

    vit: ViT
    local_size: int
    keep_ratio: float
    reduction: int
    min_box: int
    head_fusion: str = "geometric"
    descriptor: str = "class_row"
    selection: str = "fused"
    gate: str = "straight_through"
    region_method: str = "largest_component"
    resample: str = "antialiased"
    layers: tuple[int, ...] = ()

    def setup(self) -> None:
        """Makes what AFTrans adds to the trunk."""
        self.local = LocalTokens(self.vit.variant, self.local_size, self.vit.stride)
        self.sacm = SACM(self.reduction, self.head_fusion, self.gate)

    def __call__(
        self, images: Images, *, train: bool, boxes: Float[Array, "batch 4"] | None = None
    ) -> ModelOutput:
        """Returns both branches' logits and the region that the local branch sees.

        Args:
          images: pixel values 0..255 (not 0..1), square. The global branch sees them shrunk to the
            trunk's image size, the local branch a crop of them as they are.
          train: whether dropout and stochastic depth are on.
          boxes: boxes to crop instead of the model's own, in pixels of the images, enlarged to
            whole ones; what lies outside is left off. Where one is NaN, or nothing of it is
            inside, the model's own is taken.

        Raises:
          ValueError: the images are not as `ViT.embed_images` takes them.

        Paper: section 2.2.2, fig. 2.
        """
        images, patches, scale = self.vit.embed_images(images)
        tokens, layers = self.vit.encode(
            patches,
            train=train,
            all_tokens=self.descriptor == "full_map",  # its last layer needs every query
            observe=Summary(DESCRIPTORS[self.descriptor], 1 + self.vit.variant.registers),
        )
        region = self._region(layers, scale)
        if boxes is not None:
            boxes = jnp.clip(boxes, 0, images.shape[1])
            known = (boxes[:, 2:] > boxes[:, :2]).all(axis=-1, keepdims=True)  # False for NaN
            whole = jnp.concatenate([jnp.floor(boxes[:, :2]), jnp.ceil(boxes[:, 2:])], axis=1)
            region = region._replace(box=jnp.where(known, whole, region.box))
        crops = crop_and_resize(images, region.box, self.local_size, self.resample)
        geometry = self.vit.geometry._replace(image_size=self.local_size)
        weight = resample_relevance(region.relevance, region.box / scale, geometry)
        patches = straight_through_scale(self.vit.embed(crops), weight)
        local, _ = self.vit.encode(patches, train=train, branch_tokens=self.local())
        features = {"global": class_feature(tokens), "local": class_feature(local)}
        logits = {name: self.vit.classify(feature) for name, feature in features.items()}
        return ModelOutput(logits, features, region)

    def global_logits(self, images: Images) -> Float[Array, "batch classes"]:
        """Returns the global logits alone, for where these answer: no SACM, no crop, one pass.

        Args and errors are those of `__call__`.

        Paper: end of section 2.2.2, table 4.
        """
        return self.vit(images, train=False)

    def _region(self, layers: Sequence[tuple[Array, Array]], scale: float) -> Region:
        """Returns the region; `scale` is from pixels of the global image to those of the source."""
        rows = self.sacm(*(jnp.stack(of_layers, axis=1) for of_layers in zip(*layers, strict=True)))
        gate, layer_rows = rows.of(self.layers)
        mask = SELECTIONS[self.selection](gate, layer_rows, self.keep_ratio)
        region = find_region(
            mask,
            relevance(gate, layer_rows),
            scale,
            method=self.region_method,
            geometry=self.vit.geometry,
            min_box=self.min_box,
        )
        if self.layers:  # the gates of the others count as 0
            gate = jnp.zeros_like(rows.gate).at[:, np.array(self.layers) - 1].set(gate)
        return region._replace(gate=gate, rows=rows)
