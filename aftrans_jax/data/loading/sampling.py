"""Assigns an example to each place of the endless stream of training."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

import grain
import numpy as np
from jaxtyping import Int

_MOST_LAPS = 64  # orders of a class in memory; together they are a few times the examples

# Endless shuffled passes over the numbers of the examples, a function that returns their labels,
# which may read them all, and the seed -> the same with the numbers of the examples to read.
Labels = Callable[[], Sequence[int] | Int[np.ndarray, " examples"]]
Sampling = Callable[[grain.MapDataset, Labels, int], grain.MapDataset]


def shuffled(order: grain.MapDataset, labels: Labels, seed: int) -> grain.MapDataset:
    """Returns the passes as they are: each has every example once."""
    del labels, seed
    return order


def balanced(order: grain.MapDataset, labels: Labels, seed: int) -> grain.MapDataset:
    """Returns passes of the same length that draw every class equally often, up to one draw.

    A class goes through all of its examples in a random order before it starts again in a new one.
    So none is left out: a class that is larger than its share of a pass takes several passes, each
    going on where the one before ended. The example at a place depends only on the seed and the
    place. Classes without examples are skipped.

    Args:
      order: endless; place `i` holds a number below the number of examples, each once a pass.
      labels: returns the labels of the examples.
      seed: seed of the orders, at least 0.
    """
    listed = np.asarray(labels())
    members = [np.flatnonzero(listed == label) for label in np.unique(listed)]
    turns = -(-len(listed) // len(members))  # draws of a class in one pass

    def laps(which: int) -> Callable[[int], Int[np.ndarray, " members"]]:
        own = members[which]

        # Laps may be requested in any order. Those of small classes are quickly drawn again.
        @lru_cache(min(turns // len(own) + 2, _MOST_LAPS))
        def lap(number: int) -> Int[np.ndarray, " members"]:
            return np.random.default_rng((seed, which, number)).permutation(own)

        return lap

    orders = [laps(which) for which in range(len(members))]

    def example(place: int, number: int) -> int:
        draw = place // len(listed) * len(listed) + number  # every draw from 0 on has one place
        turn, which = divmod(draw, len(members))
        lap, position = divmod(turn, len(members[which]))
        return int(orders[which](lap)[position])

    return order.map_with_index(example)


SAMPLINGS: Mapping[str, Sampling] = MappingProxyType({"shuffle": shuffled, "balanced": balanced})
