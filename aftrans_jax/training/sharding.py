"""The mesh of devices: batches are split over all of it, with FSDP a state over one axis."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax import struct
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from aftrans_jax.training.parameter_groups import merge
from aftrans_jax.training.state import TrainState
from aftrans_jax.training.xla_options import xla_options

DATA_AXIS, FSDP_AXIS = AXES = "data", "fsdp"
REPLICATED = PartitionSpec()
BATCH_SPLIT = PartitionSpec(AXES)  # rows of the batch
# Devices that a state is sharded over, where there are as many. With more, shards are so small
# that XLA makes an all-reduce of every gather and scatter (ViT-L/16 on 64 v5e).
FSDP_DEVICES = 8
# Elements of the smallest array that is sharded: biases and norms would be exchanged one by one,
# and are a thousandth of a trunk.
SMALLEST = 2**14

Specs = Any  # a tree of PartitionSpec, or one for all of a tree


def device_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """Returns a mesh of all devices of all processes, or of those given, along two axes.

    The devices along "fsdp" share one state, and the groups along "data" hold copies of it; rows of
    a batch are split over both. The axes are Auto, since Explicit ones would need every
    concatenation annotated.
    """
    devices = devices or jax.devices()
    size = _group_size(len(devices))
    # By `jax.make_mesh`, 8 would have to be whole axes of a slice of TPUs, as 4 x 4 has none.
    placed = mesh_utils.create_device_mesh(
        (len(devices) // size, size), devices, allow_split_physical_axes=True
    )
    return Mesh(placed, AXES, axis_types=(AxisType.Auto, AxisType.Auto))


def _group_size(num_devices: int) -> int:
    """Returns how many devices share a state: of up to 8 all, of more 8, 4, 2, 3, 5 or 7.

    It is the first of these that divides their number, 1 for 11 or 13. An even one divides the
    sides of every trunk; 3 those of Ti, S and B, 5 those of H/14.
    """
    if num_devices <= FSDP_DEVICES:
        return num_devices
    odd = (size for size in range(3, FSDP_DEVICES, 2) if num_devices % size == 0)
    even = math.gcd(num_devices, FSDP_DEVICES)
    return even if even > 1 else next(odd, 1)


def on_each(function: Callable, mesh: Mesh, *, arguments: Specs, results: Specs) -> Callable:
    """Returns the function to run on every device, each with its own rows of the batch.

    So gradients are exchanged once a step, and the labelling's loop exchanges nothing; plain jit
    reduced the trunk's gradient once per branch, and the loop's condition in every iteration.

    Args:
      function: function of one device's data; devices exchange data only in `all_sum`, `gather`.
      mesh: mesh of the devices.
      arguments: `REPLICATED` or `BATCH_SPLIT` for each argument, or a tree of PartitionSpecs.
      results: the same for each result.
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
    return jax.lax.psum(tree, AXES)


def device_index() -> Array:
    """Returns the number of this device, from 0; for use inside `on_each`."""
    return jax.lax.axis_index(AXES)


class ShardingStrategy(NamedTuple):
    """The sharding of the training state over devices.

    Attributes:
      specs: PartitionSpec of each of its arrays.
      gather: maps one device's shards of the parameters to what modules read unsharded; for use
        inside `on_each`. Under FSDP its gradient is summed over the group and sharded again.
      all_sum: sums a pair over all devices: the gradients of the trained parameters, as they are on
        one device after `gather`, and any other tree; for use inside `on_each`.
    """

    specs: Specs
    gather: Callable[[Any], Any]
    all_sum: Callable[[tuple[Any, Any]], tuple[Any, Any]]


SINGLE_DEVICE = ShardingStrategy(  # one device, outside of `on_each`
    REPLICATED, gather=lambda params: params, all_sum=lambda trees: trees
)


def replicated(state: TrainState, mesh: Mesh) -> ShardingStrategy:
    """Returns the strategy in which every device holds the full state."""
    del mesh
    return ShardingStrategy(
        jax.tree.map(lambda _: REPLICATED, state), lambda params: params, all_sum
    )


def fsdp(state: TrainState, mesh: Mesh) -> ShardingStrategy:
    """Returns the strategy in which each device of a group holds a shard of each large array.

    In a step a parameter is gathered in the block that reads it, once more where a block is
    rematerialised, and its gradient is unsharded until it is summed. The optimizer state and the
    moving average stay sharded.

    Args:
      state: unsharded state, or its shapes.
      mesh: mesh of the devices; the groups lie along "fsdp".

    Follows: ZeRO, stage 3, of Rajbhandari et al. 2020, and its hybrid of Zhao et al. 2023 (PyTorch
      FSDP) on more devices than one group has.
    """
    specs = jax.tree.map(partial(_spec, group_size=mesh.shape[FSDP_AXIS]), state)
    of_all = merge(specs.params, specs.frozen)

    def gather(params: Any) -> Any:
        return jax.tree.map(_readable, params, of_all)

    def summed(trees: tuple[Any, Any]) -> tuple[Any, Any]:
        grads, others = trees
        trained = specs.params
        unsharded = jax.tree.map(lambda x, spec: x if spec == REPLICATED else None, grads, trained)
        sharded = jax.tree.map(lambda x, spec: None if spec == REPLICATED else x, grads, trained)
        unsharded, others = all_sum((unsharded, others))
        if mesh.shape[DATA_AXIS] > 1:  # `gather` has summed them within the group
            sharded = jax.lax.psum(sharded, DATA_AXIS)
        both = jax.tree.map(lambda _, x, y: x if y is None else y, grads, unsharded, sharded)
        return both, others

    return ShardingStrategy(specs, gather, summed)


STRATEGIES: Mapping[str, Callable[[TrainState, Mesh], ShardingStrategy]] = MappingProxyType(
    {"replicated": replicated, "fsdp": fsdp}
)


def share_note(name: str, state: TrainState, specs: Specs, mesh: Mesh) -> list[str]:
    """Returns a line on how much of a state a device holds; none where it is replicated by choice.

    Args:
      name: name of the strategy.
      state: unsharded state, or its shapes.
      specs: PartitionSpec of each of its arrays.
      mesh: mesh of the devices.
    """
    if name != "fsdp" or mesh.size == 1:
        return []
    size = mesh.shape[FSDP_AXIS]
    split = jax.tree.map(lambda spec: spec != REPLICATED, specs)
    held = jax.tree.map(lambda leaf, is_split: leaf.size / (size if is_split else 1), state, split)
    share = sum(jax.tree.leaves(held)) / sum(leaf.size for leaf in jax.tree.leaves(state))
    line = f"train.sharding=fsdp: each of {mesh.size} devices holds {share:.0%} of the state"
    return [f"{line}; of 2, 4 or 8 devices, each would hold a part" if share > 0.9 else line]


def _spec(leaf: Any, group_size: int) -> PartitionSpec:
    """Returns a split along an array's largest side that a group can divide evenly, if any."""
    sides = [side if side % group_size == 0 else 0 for side in leaf.shape]
    if leaf.size < SMALLEST or not any(sides):
        return REPLICATED
    return PartitionSpec(*(None,) * sides.index(max(sides)), FSDP_AXIS)


def _readable(array: Array, spec: PartitionSpec) -> Any:
    return array if spec == REPLICATED else _Shard(array, axis=len(spec) - 1)


class _Shard(struct.PyTreeNode, nn.meta.AxisMetadata[Array]):
    """A device's shard of a parameter, which Flax unboxes where a module reads the parameter.

    So it is gathered only in the block that computes with it, and again where that block is
    rematerialised.
    """

    value: Array
    axis: int = struct.field(pytree_node=False)

    def unbox(self) -> Array:
        return jax.lax.all_gather(self.value, FSDP_AXIS, axis=self.axis, tiled=True)

    def replace_boxed(self, val: Any) -> Any:
        return self.replace(value=val)

    def add_axis(self, index: int, params: dict[Any, Any]) -> Any:
        raise NotImplementedError  # no module here is mapped over parameters

    def remove_axis(self, index: int, params: dict[Any, Any]) -> Any:
        raise NotImplementedError


def to_devices(batches: Iterator[Mapping[str, Any]], mesh: Mesh) -> Iterator[dict[str, Array]]:
    """Yields this process's rows of each batch as global arrays split over the mesh."""
    sharding = NamedSharding(mesh, BATCH_SPLIT)
    for batch in batches:
        yield {
            name: jax.make_array_from_process_local_data(sharding, array)
            for name, array in batch.items()
        }


def rounded_up(batch_size: int, mesh: Mesh) -> int:
    """Returns a batch size that is no smaller, and of which every device gets the same number."""
    return -(-batch_size // mesh.size) * mesh.size


def shardings(specs: Specs, mesh: Mesh) -> Any:
    """Returns the tree with each spec replaced by its sharding."""
    return jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)


def placed(tree: Any, mesh: Mesh, specs: Specs) -> Any:
    """Returns a tree of host arrays, the same in every process, on the devices.

    Args:
      tree: tree of arrays.
      mesh: mesh of the devices.
      specs: tree with the PartitionSpec of each array.
    """

    def put(array: Any, sharding: NamedSharding) -> Array:
        array = np.asarray(array)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(put, tree, shardings(specs, mesh))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Returns a tree of host arrays, the same in every process, on every device."""
    return placed(tree, mesh, jax.tree.map(lambda _: REPLICATED, tree))
