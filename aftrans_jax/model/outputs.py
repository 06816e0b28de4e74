"""The images that every model takes, and the output that it returns."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Num

Images = Num[Array | np.ndarray, "batch height width 3"]  # pixel values 0..255, uint8 or floats


class GatedRows(NamedTuple):
    """Gates [batch layers] in (0, 1] and class rows [batch layers patches] that sum to 1.

    Paper: M_L and W_c of eq. 8.
    """

    gate: Array
    layer_rows: Array

    def of(self, layers: tuple[int, ...]) -> "GatedRows":
        """Returns those of the layers with these numbers, from 1 on; none: of all layers."""
        if not layers:
            return self
        places = np.array(layers) - 1
        return GatedRows(self.gate[:, places], self.layer_rows[:, places])


class Region(NamedTuple):
    """Where the model looked.

    gate: weight of each layer [batch layers] in [0, 1], 0 for layers that are not fused; None for a
      model without gates.
    relevance: gated, fused attention [batch rows cols], >= 0; of RAMS-Trans its rollout.
    mask: selected patches [batch rows cols], bool.
    box: region in pixels of the images given to the model [batch 4], (top, left, bottom, right),
      half-open, whole numbers.
    rows: gates and class rows of all layers, fused or not; None for a model without gates.

    Paper: section 2.2.1.
    """

    gate: Array | None
    relevance: Array
    mask: Array
    box: Array
    rows: GatedRows | None = None


class ModelOutput(NamedTuple):
    """The output of a model.

    logits: [batch classes] by branch ("global", "local"), float32.
    features: [batch hidden] by branch, the class token that the head reads, float32.
    region: region that the local branch saw, None without one.

    All models return this one type, so losses, metrics and reports need no special cases.
    """

    logits: dict[str, Array]
    features: dict[str, Array]
    region: Region | None
