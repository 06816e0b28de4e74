"""Data parallelism: one mesh axis, batches split over it, everything else on every device."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

DATA_AXIS = "data"
WHOLE, SPLIT = PartitionSpec(), PartitionSpec(DATA_AXIS)  # on every device | rows of the batch

Specs = PartitionSpec | tuple[PartitionSpec, ...]


def data_mesh() -> Mesh:
    """Returns a mesh of all devices of all processes along one axis.

    The axis is Auto, since an Explicit one would need every concatenation annotated.
    """
    return jax.make_mesh((jax.device_count(),), (DATA_AXIS,), axis_types=(AxisType.Auto,))


def per_device(
    function: Callable,
    mesh: Mesh,
    *,
    arguments: Specs,
    results: Specs,
    donate: tuple[int, ...] = (),
) -> Callable:
    """Returns the function compiled to run on every device, each with its own rows of the batch.

    So the gradient is exchanged once a step and the labelling's loop exchanges nothing; plain jit
    reduced the trunk's gradient once per branch, and the loop's condition in every iteration.

    Args:
      function: of what one device holds; devices exchange data in `all_sum` alone.
      mesh: of the devices.
      arguments: `WHOLE` or `SPLIT` for each argument.
      results: likewise for each result.
      donate: numbers of the arguments whose memory the results may take.
    """
    mapped = jax.shard_map(
        function, mesh=mesh, in_specs=arguments, out_specs=results, check_vma=False
    )
    return jax.jit(mapped, donate_argnums=donate)


def all_sum(tree: Any) -> Any:
    """Returns the sum of all devices' trees; for use inside `per_device`."""
    return jax.lax.psum(tree, DATA_AXIS)


def device_index() -> Array:
    """Returns the number of this device, from 0; for use inside `per_device`."""
    return jax.lax.axis_index(DATA_AXIS)


def to_devices(batches: Iterator[Mapping[str, Any]], mesh: Mesh) -> Iterator[dict[str, Array]]:
    """Yields this process's part of each batch as global arrays split over the mesh."""
    sharding = NamedSharding(mesh, SPLIT)
    for batch in batches:
        yield {
            name: jax.make_array_from_process_local_data(sharding, array)
            for name, array in batch.items()
        }


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Returns a tree of host arrays, the same in every process, on every device."""
    sharding = NamedSharding(mesh, WHOLE)
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree
    )
