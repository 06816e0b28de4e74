"""Data parallelism: one mesh axis, batches split over it, everything else on every device."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

DATA_AXIS = "data"


def data_mesh() -> Mesh:
    """Returns a mesh of all devices of all processes along one axis.

    Choice: the axis is Auto, since an Explicit one would have every concatenation annotated.
    """
    return jax.make_mesh((jax.device_count(),), (DATA_AXIS,), axis_types=(AxisType.Auto,))


def split_batch(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays whose leading axis is the batch.

    Follows: flax examples, data parallelism with jit.
    """
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays that every device holds whole.

    Follows: flax examples, data parallelism with jit.
    """
    return NamedSharding(mesh, PartitionSpec())


def per_device(function: Callable[[Array], Array], mesh: Mesh) -> Callable[[Array], Array]:
    """Returns the function applied to each device's part of the batch by itself.

    Choice: under plain jit a data-dependent loop's condition costs an all-reduce per iteration.
    """
    spec = PartitionSpec(DATA_AXIS)
    return jax.shard_map(function, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)


def to_devices(batches: Iterator[Mapping[str, Any]], mesh: Mesh) -> Iterator[dict[str, Array]]:
    """Yields this process's part of each batch as global arrays split over the mesh.

    Choice: `make_array_from_process_local_data` serves one process and many alike.
    """
    sharding = split_batch(mesh)
    for batch in batches:
        yield {
            name: jax.make_array_from_process_local_data(sharding, array)
            for name, array in batch.items()
        }


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Returns a tree of host arrays, the same in every process, on every device.

    Follows: flax examples, data parallelism with jit.
    """
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(replicated(mesh), np.asarray(x)), tree
    )
