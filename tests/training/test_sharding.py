"""A state sharded over devices against the same state replicated on each of them."""

import re
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax.sharding import PartitionSpec
from training import linear

from aftrans_jax.model.aftrans import AFTrans
from aftrans_jax.model.outputs import ModelOutput
from aftrans_jax.training import sharding
from aftrans_jax.training.checkpoint_reading import flat_arrays
from aftrans_jax.training.compilation import compiled_step
from aftrans_jax.training.optimizer import OPTIMIZERS, optimizer
from aftrans_jax.training.precision import DynamicLossScale, NoLossScale
from aftrans_jax.training.sharding import FSDP_AXIS, REPLICATED, STRATEGIES, device_mesh, placed
from aftrans_jax.training.state import create_state
from aftrans_jax.training.train_step import mean_gradients
from benchmarks.harness.hlo import collectives

RULES = {"momentum": 0.9, "clip_norm": 0.5, "weight_decay": 0.1, "layer_decay": 1.0}
STEPS = 3
KERNELS = 4 * 8 * (linear.NUM_PIXELS + linear.NUM_CLASSES)  # bytes of what can be split


class Perceptron(nn.Module):
    """Arrays that devices can share evenly, and one that they cannot."""

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images, *, train):
        del train
        x = jnp.asarray(images, self.dtype).reshape(len(images), -1) / 64
        hidden = nn.relu(nn.Dense(8, use_bias=False, dtype=self.dtype, name="frozen")(x))
        logits = nn.Dense(linear.NUM_CLASSES, dtype=self.dtype, name="trained")(hidden)
        return ModelOutput({"global": logits}, {"global": hidden}, None)


def batches(rng):
    """Batches of which unequal numbers of rows count on each device."""
    made = [linear.random_batch(rng) for _ in range(STEPS)]
    for batch in made:
        batch["mask"] = rng.random(8) < 0.7
    return made


def state_of(rules, loss_scale, trains):
    params = Perceptron().init(jax.random.key(0), np.zeros((1, 2, 2, 3)), train=False)["params"]
    return jax.device_get(create_state(params, rules, loss_scale, trains=trains, average_decay=0.9))


def step_of(
    model, rules, strategy, mesh, microbatches=1, weights=MappingProxyType({"global": 1.0})
):
    gradients = partial(
        mean_gradients,
        model=model,
        loss_weights=weights,
        head="global",
        accumulation_steps=microbatches,
        strategy=strategy,
    )
    return compiled_step(gradients, rules, seed=0, strategy=strategy, mesh=mesh)


def mesh_of(num_devices, group=8):
    with mock.patch.object(sharding, "FSDP_DEVICES", group):
        return device_mesh(jax.devices()[:num_devices])


def trained(
    way, num_devices, given, *, group=8, name="sgd", microbatches=1, dtype=jnp.float32, trains=bool
):
    """The states after each step, and what the last step says."""
    rules = optimizer(name, lambda count: 0.02 + 0.0 * count, **RULES, num_layers=1)
    scale = DynamicLossScale() if dtype == jnp.float16 else NoLossScale()
    host = state_of(rules, scale, trains)
    mesh = mesh_of(num_devices, group)
    with mock.patch.object(sharding, "SMALLEST", 1):
        strategy = STRATEGIES[way](host, mesh)
    step = step_of(Perceptron(dtype), rules, strategy, mesh, microbatches)
    state, states = placed(host, mesh, strategy.specs), []
    for batch in given:
        state, averages = step(state, batch)
        states.append(flat_arrays(state))
    return host, state, states, jax.device_get(averages)


def assert_same(found, expected):
    close = partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-6)
    jax.tree.map(close, found[2:], expected[2:])  # all states, and what the last step says


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_sharded_state_is_trained_as_a_replicated_one(rng, name):
    given = batches(rng)
    replicated = trained("replicated", 1, given, name=name)
    for num_devices, group in ((2, 8), (4, 2), (4, 8)):
        number = 4 // num_devices
        sharded = trained("fsdp", num_devices, given, group=group, name=name, microbatches=number)
        assert_same(sharded, replicated)
    host, state, states, averages = sharded
    assert float(averages["gradient_norm"].total) > RULES["clip_norm"]  # or nothing was clipped
    moved = np.abs(states[-1]["params/frozen/kernel"] - host.params["frozen"]["kernel"]).max()
    assert moved > 1e-3
    held = {
        path: {shard.data.size for shard in leaf.addressable_shards}
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }
    sizes = {path: leaf.size for path, leaf in jax.tree_util.tree_leaves_with_path(state)}
    for path, shares in held.items():
        even = sizes[path] in (8 * linear.NUM_PIXELS, 8 * linear.NUM_CLASSES)
        assert shares == {sizes[path] // 4 if even else sizes[path]}, path
    kernels = sum(size == 8 * linear.NUM_PIXELS for size in sizes.values())
    assert kernels == {"sgd": 3, "adamw": 4, "lamb": 4}[name]  # moments and average are split too


def test_frozen_parameters_are_sharded_and_stay(rng):
    rules = {"trains": lambda path: path[0] == "trained"}
    given = batches(rng)
    replicated, sharded = (trained(way, 2, given, **rules) for way in STRATEGIES)
    assert_same(sharded, replicated)
    host, state, states, _ = sharded
    kernel = state.frozen["frozen"]["kernel"]
    assert kernel.addressable_shards[0].data.size == kernel.size // 2
    np.testing.assert_array_equal(
        states[-1]["frozen/frozen/kernel"], host.frozen["frozen"]["kernel"]
    )


def test_an_overflow_on_one_device_is_skipped_by_all(rng):
    given = batches(rng)
    given[1]["image"][:] = 255
    replicated, sharded = (trained(way, 2, given * 4, dtype=jnp.float16) for way in STRATEGIES)
    last, other = sharded[2][-1], replicated[2][-1]
    assert 0 < last["skipped"] < len(sharded[2])
    for path in ("skipped", "step", "loss_scale/scale"):
        np.testing.assert_array_equal(last[path], other[path])


def test_the_largest_side_that_all_can_share_is_split():
    shapes = {
        (64, 1024): PartitionSpec(None, FSDP_AXIS),
        (1024, 16, 64): PartitionSpec(FSDP_AXIS),
        (3001, 1026, 64): PartitionSpec(None, None, FSDP_AXIS),
        (1025, 1027): REPLICATED,  # no side is even
        (16, 1024): PartitionSpec(None, FSDP_AXIS),
        (16, 1016): REPLICATED,  # small
        (): REPLICATED,
    }
    tree = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    found = [sharding._spec(leaf, group_size=8) for leaf in tree]
    assert found == [*shapes.values()]


@pytest.mark.parametrize(
    ("num_devices", "group"),
    [
        *((number, number) for number in range(1, 9)),
        *((number, 8) for number in (16, 32, 64, 256)),
        *((10, 2), (12, 4), (14, 2), (18, 2), (20, 4)),
        *((9, 3), (15, 3), (25, 5), (35, 5), (49, 7), (11, 1), (13, 1), (121, 1)),
    ],
)
def test_a_state_is_split_over_up_to_eight_devices_and_repeated(num_devices, group):
    assert sharding._group_size(num_devices) == group


@pytest.mark.parametrize(
    ("group", "split", "said"),
    [
        (4, True, " 40% of the state"),
        (2, True, " 60% of the state"),
        (1, False, " 100% of the .*8"),
    ],
)
def test_what_each_device_holds_is_said(group, split, said):
    rules = optimizer("sgd", lambda count: 0.0, **RULES, num_layers=1)
    wide, small = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((100, 80), (2000,)))
    empty = dict.fromkeys(("params", "frozen", "opt_state", "loss_scale", "average"))
    state = state_of(rules, NoLossScale(), bool).replace(step=wide, skipped=small, **empty)
    specs = state.replace(step=PartitionSpec(None, FSDP_AXIS) if split else REPLICATED)
    (line,) = sharding.share_note(
        "fsdp", state, specs.replace(skipped=REPLICATED), mesh_of(4, group)
    )
    assert re.search(said, line)
    assert sharding.share_note("replicated", state, specs, mesh_of(4, group)) == []
    assert sharding.share_note("fsdp", state, specs, mesh_of(1)) == []


@dataclass(frozen=True)
class Chip:
    """What JAX asks of a TPU to place it in a mesh."""

    id: int
    coords: tuple[int, int, int]
    device_kind: str = "TPU v4"
    platform: str = "tpu"
    process_index: int = 0
    core_on_chip: int = 0


@pytest.mark.parametrize("sides", [(4, 4, 1), (4, 4, 4), (16, 16, 1), (2, 4, 1), (2, 2, 4)])
def test_slices_of_tpus_without_an_axis_of_eight_have_groups_of_neighbours(sides):
    chips = [Chip(number, coords) for number, coords in enumerate(np.ndindex(*sides))]
    groups = device_mesh(chips).devices
    assert groups.shape == (len(chips) // 8, 8)
    assert {chip.id for chip in groups.flat} == set(range(len(chips)))
    for group in groups:
        spans = np.ptp([chip.coords for chip in group], axis=0) + 1
        assert np.prod(spans) == 8


class Tower(nn.Module):
    """Blocks alike, of which the backward pass computes all but the first again."""

    @nn.compact
    def __call__(self, images, *, train):
        del train
        x = jnp.asarray(images, jnp.float32).reshape(len(images), -1)
        for block in (nn.Dense, nn.remat(nn.Dense), nn.remat(nn.Dense)):
            x = nn.relu(block(x.shape[-1], use_bias=False)(x))
        return ModelOutput({"global": x[:, : linear.NUM_CLASSES]}, {"global": x}, None)


def test_a_block_that_is_computed_again_gathers_its_parameters_again(rng):
    """They would have to stay gathered from the forward pass on, all blocks' at a time."""
    batch = linear.random_batch(rng)
    rules = optimizer("sgd", lambda count: 0.02 + 0.0 * count, **RULES, num_layers=1)
    params = Tower().init(jax.random.key(0), batch["image"], train=False)["params"]
    state = create_state(params, rules, NoLossScale())
    mesh = mesh_of(4)
    with mock.patch.object(sharding, "SMALLEST", 1):
        strategy = STRATEGIES["fsdp"](state, mesh)
    lowered = step_of(Tower(), rules, strategy, mesh).lower(state, batch).as_text()
    assert lowered.count("stablehlo.all_gather") == 3 + 2
    assert lowered.count("stablehlo.reduce_scatter") == 3


@pytest.mark.parametrize(("group", "summed"), [(2, {KERNELS // 2}), (8, set())])
def test_groups_of_devices_exchange_shards_alone(rng, group, summed):
    """Groups hold the same shards, so a device needs the others' sums of its own; one, none."""
    rules = optimizer("sgd", lambda count: 0.02 + 0.0 * count, **RULES, num_layers=1)
    host, mesh = state_of(rules, NoLossScale(), bool), mesh_of(4, group)
    with mock.patch.object(sharding, "SMALLEST", 1):
        strategy = STRATEGIES["fsdp"](host, mesh)
    program = step_of(Perceptron(), rules, strategy, mesh).lower(host, batches(rng)[0]).compile()
    found = collectives(program.as_text())
    assert sum(one.num_bytes for one in found if one.kind == "reduce-scatter") == KERNELS
    reduced = {one.num_bytes for one in found if one.kind == "all-reduce"}
    assert {size for size in reduced if size >= KERNELS // 4} == summed  # the others are scalars


def test_a_trunk_that_two_branches_read_is_trained_as_a_replicated_one(rng):
    """Blocks are computed again, and parameters are gathered in both branches of AFTrans."""
    two = tiny.VARIANT._replace(layers=2)  # each block is compiled anew
    vit = tiny.tiny_vit(remat="blocks").clone(variant=two)
    model = AFTrans(vit, tiny.LOCAL_SIZE, keep_ratio=0.3, reduction=2, min_box=5)
    images = tiny.random_images(rng, batch=2)
    batch = {"image": images, "label": np.int32([1, 3]), "mask": np.ones(2, bool)}
    rules = optimizer("sgd", lambda count: 0.02 + 0.0 * count, **RULES, num_layers=1)
    state = create_state(tiny.random_params(model, rng, images), rules, NoLossScale())
    host, mesh, found = jax.device_get(state), mesh_of(2), []
    for way in STRATEGIES:
        with mock.patch.object(sharding, "SMALLEST", 1):
            strategy = STRATEGIES[way](host, mesh)
        step = step_of(model, rules, strategy, mesh, weights={"global": 1.0, "local": 1.0})
        found.append(flat_arrays(step(placed(host, mesh, strategy.specs), batch)[0]))
    moved = {path: array - found[0][path] for path, array in flat_arrays(host).items()}
    assert (
        np.abs(moved["params/vit/Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel"]).max() > 0
    )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-6), *found)


def test_a_state_goes_on_with_another_number_of_devices(rng):
    given = batches(rng)
    host, state, states, _ = trained("fsdp", 4, given)
    for path, array in flat_arrays(host).items():
        assert states[-1][path].shape == array.shape, path
    mesh = mesh_of(2)
    with mock.patch.object(sharding, "SMALLEST", 1):
        specs = STRATEGIES["fsdp"](host, mesh).specs
    again = flat_arrays(placed(jax.device_get(state), mesh, specs))
    jax.tree.map(np.testing.assert_array_equal, again, states[-1])
