"""Which example each place of the endless stream of training holds."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import grain
import numpy as np
from jaxtyping import Int

# Endless shuffled passes over the numbers of the examples, their labels and the seed -> the same
# with the examples that are to be read.
Labels = Sequence[int] | Int[np.ndarray, " examples"]
Sampling = Callable[[grain.MapDataset, Labels, int], grain.MapDataset]


def shuffled(order: grain.MapDataset, labels: Labels, seed: int) -> grain.MapDataset:
    """Returns the passes as they are: each shows every example once."""
    del labels, seed
    return order


def balanced(order: grain.MapDataset, labels: Labels, seed: int) -> grain.MapDataset:
    """Returns passes of the same length that draw every class equally often, up to one draw.

    Draw by draw, a class goes through all of its examples in a random order before it starts again
    in a new one. So none is left out: a class that is larger than its share of a pass takes several
    passes, which go on where the one before ended. Which example a place holds depends on seed
    and place alone. Classes without examples are passed over.

    Args:
      order: endless; place `i` holds a number below the number of examples, each once a pass.
      labels: of the examples.
      seed: at least 0.
    """
    labels = np.asarray(labels)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]

    def example(place: int, number: int) -> int:
        draw = place // len(labels) * len(labels) + number  # every draw from 0 on has one place
        turn, which = divmod(draw, len(members))
        own = members[which]
        lap, position = divmod(turn, len(own))
        return int(np.random.default_rng((seed, which, lap)).permutation(own)[position])

    return order.map_with_index(example)


SAMPLINGS: Mapping[str, Sampling] = MappingProxyType({"shuffle": shuffled, "balanced": balanced})
