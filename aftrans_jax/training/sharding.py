"""One mesh axis: batches are split over it, and a training's state too where that is asked for."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax import struct
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from aftrans_jax.training.parameter_groups import joined
from aftrans_jax.training.state import TrainState
from aftrans_jax.training.xla_options import xla_options

DATA_AXIS = "data"
WHOLE, SPLIT = PartitionSpec(), PartitionSpec(DATA_AXIS)  # on every device | rows of the batch
# Elements of the smallest array that is split: biases and norms would be exchanged one by one, and
# are a thousandth of a trunk.
SMALLEST = 2**14

Specs = Any  # a tree of PartitionSpec, or one for a whole tree


def data_mesh() -> Mesh:
    """Returns a mesh of all devices of all processes along one axis.

    The axis is Auto, since an Explicit one would need every concatenation annotated.
    """
    return jax.make_mesh((jax.device_count(),), (DATA_AXIS,), axis_types=(AxisType.Auto,))


def on_each(function: Callable, mesh: Mesh, *, arguments: Specs, results: Specs) -> Callable:
    """Returns the function to run on every device, each with its own rows of the batch.

    So the gradient is exchanged once a step and the labelling's loop exchanges nothing; plain jit
    reduced the trunk's gradient once per branch, and the loop's condition in every iteration.

    Args:
      function: of what one device holds; devices exchange data in `all_sum` and `gather` alone.
      mesh: of the devices.
      arguments: `WHOLE` or `SPLIT` for each argument, or a tree of where its arrays lie.
      results: likewise for each result.
    """
    return jax.shard_map(
        function, mesh=mesh, in_specs=arguments, out_specs=results, check_vma=False
    )


def per_device(function: Callable, mesh: Mesh, *, arguments: Specs, results: Specs) -> Callable:
    """Returns `on_each` compiled."""
    each = on_each(function, mesh, arguments=arguments, results=results)
    return jax.jit(each, compiler_options=xla_options(mesh.devices.flat[0].platform))


def all_sum(tree: Any) -> Any:
    """Returns the sum of all devices' trees; for use inside `on_each`."""
    return jax.lax.psum(tree, DATA_AXIS)


def device_index() -> Array:
    """Returns the number of this device, from 0; for use inside `on_each`."""
    return jax.lax.axis_index(DATA_AXIS)


class Sharing(NamedTuple):
    """How devices share the state of a training.

    Attributes:
      specs: where each of its arrays lies.
      gather: of what one device holds of the model's parameters, to what the model reads whole;
        for use inside `on_each`. Its gradient is summed over devices, of each what it holds.
      all_sum: of the gradients of what trains and anything else, as they are on one device after
        `gather`, to their sums over all devices; likewise.
    """

    specs: Specs
    gather: Callable[[Any], Any]
    all_sum: Callable[[tuple[Any, Any]], tuple[Any, Any]]


ALONE = Sharing(  # one device, outside of `on_each`
    WHOLE, gather=lambda params: params, all_sum=lambda trees: trees
)


def replicated(state: TrainState, num_devices: int) -> Sharing:
    """Returns the sharing in which every device holds the whole state."""
    del num_devices
    return Sharing(jax.tree.map(lambda _: WHOLE, state), lambda params: params, all_sum)


def fsdp(state: TrainState, num_devices: int) -> Sharing:
    """Returns the sharing in which every device holds a part of each large array.

    Within a step a parameter is made whole where the model reads it, in a block that is computed
    again once more, and a gradient is whole until it is summed. Optimizer and moving average never
    are.

    Args:
      state: whole, or its shapes.
      num_devices: that it is split over.

    Follows: ZeRO, stage 3, of Rajbhandari et al. 2020.
    """
    specs = jax.tree.map(partial(_spec, num_devices=num_devices), state)
    of_all = joined(specs.params, specs.frozen)

    def gather(params: Any) -> Any:
        return jax.tree.map(_readable, params, of_all)

    def summed(trees: tuple[Any, Any]) -> tuple[Any, Any]:
        grads, others = trees
        parts = jax.tree.map(
            lambda grad, spec: grad if spec == WHOLE else None, grads, specs.params
        )
        known, others = all_sum((parts, others))  # `gather` has summed the rest
        return jax.tree.map(
            lambda grad, spec, known: known if spec == WHOLE else grad, grads, specs.params, known
        ), others

    return Sharing(specs, gather, summed)


SHARINGS: Mapping[str, Callable[[TrainState, int], Sharing]] = MappingProxyType(
    {"replicated": replicated, "fsdp": fsdp}
)


def _spec(leaf: Any, num_devices: int) -> PartitionSpec:
    """Returns a split along an array's largest side that all devices can share evenly, if any."""
    sides = [side if side % num_devices == 0 else 0 for side in leaf.shape]
    if leaf.size < SMALLEST or not any(sides):
        return WHOLE
    return PartitionSpec(*(None,) * sides.index(max(sides)), DATA_AXIS)


def _readable(array: Array, spec: PartitionSpec) -> Any:
    return array if spec == WHOLE else _Part(array, axis=len(spec) - 1)


class _Part(struct.PyTreeNode, nn.meta.AxisMetadata[Array]):
    """A device's part of a parameter, which Flax unboxes where a module reads the parameter.

    So it is whole in the block that computes with it, and not before, nor after one that is
    computed again.
    """

    value: Array
    axis: int = struct.field(pytree_node=False)

    def unbox(self) -> Array:
        return jax.lax.all_gather(self.value, DATA_AXIS, axis=self.axis, tiled=True)

    def replace_boxed(self, val: Any) -> "_Part":
        return self.replace(value=val)

    def add_axis(self, index: int, params: Mapping[Any, Any]) -> "_Part":
        raise NotImplementedError  # no module here is mapped over parameters

    remove_axis = add_axis


def to_devices(batches: Iterator[Mapping[str, Any]], mesh: Mesh) -> Iterator[dict[str, Array]]:
    """Yields this process's part of each batch as global arrays split over the mesh."""
    sharding = NamedSharding(mesh, SPLIT)
    for batch in batches:
        yield {
            name: jax.make_array_from_process_local_data(sharding, array)
            for name, array in batch.items()
        }


def shardings(specs: Specs, mesh: Mesh) -> Any:
    """Returns the tree with a sharding in the place of each spec."""
    return jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)


def placed(tree: Any, mesh: Mesh, specs: Specs) -> Any:
    """Returns a tree of host arrays, the same in every process, on the devices.

    Args:
      tree: of arrays.
      mesh: of the devices.
      specs: a tree of where each array lies.
    """

    def put(array: Any, sharding: NamedSharding) -> Array:
        array = np.asarray(array)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(put, tree, shardings(specs, mesh))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Returns a tree of host arrays, the same in every process, on every device."""
    return placed(tree, mesh, jax.tree.map(lambda _: WHOLE, tree))
