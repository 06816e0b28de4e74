"""Connected components of a batch of small masks, inside jit.

The four cells of a 2x2 block touch one another, so 8-connected components are components of blocks,
and there are four times fewer of those. The blocks of the whole batch lie on one line: each image
ends in a blank row and a blank column of cells, so that a neighbour is always the same shift along
the line and blocks of different rows or images are never joined by it.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int32

_NUM_JUMPS = 2  # per iteration; with 1 the worst masks found take 10 iterations, with 2 they take 6


class Labelling(NamedTuple):
    """The components of a batch of masks.

    Attributes:
        labels: smallest raster index in the cell's component; rows * cols in the background.
        num_iterations: iterations of the loop, until no two neighbours differ.

    Labels are canonical: any correct labelling gives the same array.
    """

    labels: Int32[Array, "batch rows cols"]
    num_iterations: Int32[Array, ""]


@partial(jax.jit, inline=True)  # without it, each call outside of jit would compile the loop anew
def label_components(mask: Bool[Array, "batch rows cols"]) -> Labelling:
    """Returns the 8-connected components of each mask.

    One loop for the whole batch, by hooking with pointer jumping, run to its fixed point: plain
    sweeps need 685 iterations for a spiral on 37x37. Under plain jit of a sharded batch the loop's
    condition is a collective; under `shard_map` each device loops alone.
    """
    batch, rows, cols = mask.shape
    # In blocks; leaves a blank last row and column.
    height = rows // 2 + 1
    width = cols // 2 + 1
    cells = jnp.pad(mask, ((0, 0), (0, 2 * height - rows), (0, 2 * width - cols)))
    corners = [cells[:, row::2, col::2].ravel() for row in (0, 1) for col in (0, 1)]
    roots, num_iterations = _find_roots(corners, width)

    # A component's root need not hold its first cell: the root's upper two cells may be empty.
    first = 2 * cols * jnp.arange(height)[:, None] + 2 * jnp.arange(width)
    first = jnp.broadcast_to(first, (batch, height, width)).ravel()
    first += jnp.select(corners, [0, 1, cols, cols + 1])
    first = first.astype(jnp.int32)
    lowest = jnp.full_like(roots, rows * cols).at[roots].min(first, mode="promise_in_bounds")
    labels = lowest[roots].reshape(batch, height, width)
    labels = labels.repeat(2, axis=1).repeat(2, axis=2)[:, :rows, :cols]
    return Labelling(jnp.where(mask, labels, rows * cols), num_iterations)


def largest_component(mask: Bool[Array, "batch rows cols"]) -> Bool[Array, "batch rows cols"]:
    """Returns the largest 8-connected component of each mask, empty where the mask is.

    A tie goes to the component that comes first in raster order.

    Paper: section 2.2.1, the max connected region search.

    Choice: 8-connectivity, and the first of equally large components; section 2.2.1 says neither.
    """
    return heaviest_component(mask, jnp.ones(mask.shape, jnp.int32))


def heaviest_component(
    mask: Bool[Array, "batch rows cols"], weights: Int32[Array, "batch rows cols"]
) -> Bool[Array, "batch rows cols"]:
    """Returns the 8-connected component of each mask whose cells weigh most together.

    Args:
      mask: cells.
      weights: above 0 where the mask is set. Integers, whose sum is the same in any order; that of
        an image must stay below 2^31.

    A tie goes to the component that comes first in raster order.
    """
    batch, rows, cols = mask.shape
    labels = label_components(mask).labels
    image = jnp.arange(batch)[:, None, None]
    sums = jnp.zeros((batch, rows * cols + 1), jnp.int32)  # the last one is the background's
    sums = sums.at[image, labels].add(weights, mode="promise_in_bounds")[:, :-1]
    return labels == jnp.argmax(sums, axis=1)[:, None, None]


def _find_roots(corners: list[Array], width: int) -> tuple[Array, Array]:
    """Returns the lowest block of each block's component, and the iterations this took."""
    margin = width + 1  # the longest shift: as many blank blocks lengthen the line at both ends
    joined = _join_blocks([jnp.pad(corner, margin) for corner in corners], width)

    def lowest_around(parents: Array) -> Array:
        lowest = _window(parents, margin)
        for shift, join in joined:
            lowest = jnp.where(join, jnp.minimum(lowest, _window(parents, margin, shift)), lowest)
        return lowest

    def unfinished(state: tuple[Array, Array, Array]) -> Array:
        parents, lowest, _ = state
        return jnp.any(lowest < _window(parents, margin))

    def hook_and_jump(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        parents, lowest, num_iterations = state
        parents = parents.at[_window(parents, margin)].min(lowest, mode="promise_in_bounds")
        for _ in range(_NUM_JUMPS):
            parents = parents.at[parents].get(mode="promise_in_bounds")
        return parents, lowest_around(parents), num_iterations + 1

    parents = jnp.arange(corners[0].size + 2 * margin, dtype=jnp.int32)
    # Adds nothing, but under shard_map the state must vary over the mesh from the start.
    parents += 0 * jnp.pad(corners[0], margin)
    state = parents, lowest_around(parents), jnp.int32(0)
    parents, _, num_iterations = lax.while_loop(unfinished, hook_and_jump, state)
    return _window(parents, margin) - margin, num_iterations


def _join_blocks(corners: list[Array], width: int) -> list[tuple[int, Array]]:
    """Returns the shifts to the eight neighbours, each with the blocks that touch theirs."""
    top_left, top_right, bottom_left, bottom_right = corners
    margin = width + 1
    joined = []
    for shift, here, there in (
        (1, top_right | bottom_right, top_left | bottom_left),
        (width - 1, bottom_left, top_right),
        (width, bottom_left | bottom_right, top_left | top_right),
        (width + 1, bottom_right, top_left),
    ):
        joined.append((shift, _window(here, margin) & _window(there, margin, shift)))
        joined.append((-shift, _window(here, margin, -shift) & _window(there, margin)))
    return joined


def _window(line: Array, margin: int, shift: int = 0) -> Array:
    """Returns the line without its margins, each block replaced by the one `shift` further on."""
    return line[margin + shift : line.size - margin + shift]
