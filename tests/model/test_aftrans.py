"""The two branches together, option by option, and where the gradient goes."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import tiny

from aftrans_jax.model.aftrans import AFTrans
from aftrans_jax.model.branch_tokens import LocalTokens
from aftrans_jax.model.variants import VARIANTS

MIN_BOX = 5


@lru_cache  # equal options give the same object, and so the same compiled function
def tiny_aftrans(**changes) -> AFTrans:
    fields = {"keep_ratio": 0.3, "reduction": 2, "min_box": MIN_BOX} | changes
    return AFTrans(tiny.tiny_vit(), tiny.LOCAL_SIZE, **fields)


@pytest.fixture
def subject(rng):
    images = tiny.random_images(rng, batch=3)
    return tiny.random_params(tiny_aftrans(), rng, images), images


# Those that do not touch each other share a model, since each takes a second or two to trace.
WITHOUT_GATES = {"layers": (1, 2), "selection": "votes", "gate": "ones"}
OPTIONS = [
    {},
    {"head_fusion": "product", "resample": "bilinear"},
    {"head_fusion": "mean", "region_method": "extreme_values"},
    {"descriptor": "full_map", "region_method": "most_relevant_component"},
    {"keep_ratio": 1.0},
    {"layers": (2,)},
    {"layers": (3, 1), "selection": "union"},
    WITHOUT_GATES,
    {"layers": (1, 2, 3)},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_agrees_with_float64(subject, options):
    check_against_float64(*subject, options)


@pytest.mark.parametrize("source_size", [44, 33])
def test_the_crop_is_cut_from_a_larger_source(subject, rng, source_size):
    photos = rng.integers(0, 256, (3, source_size, source_size, 3), dtype=np.uint8)
    check_against_float64(subject[0], photos, {})


def test_given_boxes_replace_the_models_own(subject):
    params, images = subject
    output = tiny.apply(tiny_aftrans(), params, images, train=False)
    model = tiny_aftrans()
    boxes = jnp.array([[1.4, 2.7, 18.2, 40], [np.nan] * 4, [5, 22, 9, 40]])  # the last is outside
    given = tiny.apply(model, params, images, train=False, boxes=boxes)
    np.testing.assert_array_equal(given.region.box[1:], output.region.box[1:])
    np.testing.assert_allclose(given.logits["local"][1:], output.logits["local"][1:], atol=1e-5)
    np.testing.assert_array_equal(given.region.box[0], [1, 2, 19, 22])
    local = params["local"]
    part = oracles.crop(tiny.normalized(images[0]), (1, 2, 19, 22), tiny.LOCAL_SIZE)
    expected = oracles.vit(
        tiny.flat(params["vit"]), part, tiny.STRIDE, "exact", local["cls"], local["pos_embedding"]
    )
    np.testing.assert_allclose(given.logits["local"][0], expected.logits, atol=1e-4)


def check_against_float64(params, images, options):
    output = tiny.apply(tiny_aftrans(**options), params, images, train=False)
    kernels = [params["sacm"][name]["kernel"] for name in ("squeeze", "excite")]
    local = params["local"]
    names = {"keep_ratio": 0.3, "head_fusion": "geometric", "selection": "fused"}
    names |= {"descriptor": "class_row", "region_method": "largest_component"} | options
    names["descriptor_kind"] = names.pop("descriptor")
    names["method"] = names.pop("region_method")
    names["gate_kind"] = names.pop("gate", "straight_through")
    for row, image in enumerate(images):
        expected = oracles.aftrans(
            tiny.flat(params["vit"]), local["cls"], local["pos_embedding"], *kernels,
            tiny.normalized(image), tiny.IMAGE_SIZE, tiny.LOCAL_SIZE, tiny.STRIDE, "exact",
            min_box=MIN_BOX, **names,
        )  # fmt: skip
        region = jax.tree.map(lambda x, row=row: np.asarray(x[row]), output.region)
        np.testing.assert_allclose(region.gate, expected.gate, atol=1e-4)
        np.testing.assert_allclose(region.relevance.ravel(), expected.relevance, atol=1e-5)
        np.testing.assert_array_equal(region.mask, expected.mask)
        assert tuple(region.box.tolist()) == expected.box
        np.testing.assert_allclose(output.logits["global"][row], expected.global_logits, atol=1e-4)
        np.testing.assert_allclose(output.logits["local"][row], expected.local_logits, atol=1e-4)


@partial(jax.jit, static_argnums=(0, 3))
def gradients(model, params, images, branch="local"):
    def loss(params):
        return (tiny.apply(model, params, images, train=False).logits[branch] ** 2).sum()

    return jax.grad(loss)(params)


def test_the_gate_learns_from_the_local_loss_without_changing_the_forward_pass(subject):
    params, images = subject
    models = {name: tiny_aftrans(gate=name) for name in ("no_gradient", "straight_through")}
    letter, ours = (tiny.apply(model, params, images, train=False) for model in models.values())
    jax.tree.map(np.testing.assert_array_equal, letter, ours)
    found = {name: gradients(model, params, images)["sacm"] for name, model in models.items()}
    for kernel in ("squeeze", "excite"):
        assert not np.any(found["no_gradient"][kernel]["kernel"])
        assert np.abs(found["straight_through"][kernel]["kernel"]).max() > 1e-6


def test_without_gates_nothing_depends_on_what_computes_them(subject):
    params, images = subject
    other = params | {"sacm": jax.tree.map(lambda x: x + 1, params["sacm"])}
    outputs = (
        tiny.apply(tiny_aftrans(**WITHOUT_GATES), each, images, train=False)
        for each in (params, other)
    )
    jax.tree.map(np.testing.assert_array_equal, *outputs)


@pytest.mark.parametrize("options", [{"gate": "ones"}, {"gate": "no_gradient"}, {"layers": (2,)}])
def test_parameters_do_not_depend_on_gates_and_layers(options):
    images = np.zeros((1, tiny.IMAGE_SIZE, tiny.IMAGE_SIZE, 3), np.uint8)
    every, some = (
        jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)
        for model in (tiny_aftrans(), tiny_aftrans(**options))
    )
    assert every == some


@pytest.mark.parametrize("source_size", [tiny.IMAGE_SIZE, 44])
def test_straight_through_is_the_gradient_of_weighted_patches(subject, rng, source_size):
    """The gate's gradient is that of x * r at r's value, by finite differences in float64."""
    params, _ = subject
    photo = rng.integers(0, 256, (source_size, source_size, 3), dtype=np.uint8)
    model, image = tiny_aftrans(), tiny.normalized(photo)
    small = oracles.crop(image, (0, 0, source_size, source_size), tiny.IMAGE_SIZE)
    flat, local = tiny.flat(params["vit"]), params["local"]
    thrice = np.stack([photo] * 3)  # as many as in other tests, which have compiled it
    found = gradients(model, params, thrice)["sacm"]["excite"]["kernel"] / 3
    w1, w2 = (np.float64(params["sacm"][name]["kernel"]) for name in ("squeeze", "excite"))
    log_attention = oracles.vit(flat, small, tiny.STRIDE, "exact").log_attention
    rows = oracles.layer_rows(log_attention, "geometric")
    describe = oracles.descriptor(log_attention, "class_row")
    box = tuple(tiny.apply(model, params, thrice, train=False).region.box[0].tolist())
    crop = oracles.crop(image, box, tiny.LOCAL_SIZE)
    patches = oracles.patch_embed(flat, crop, tiny.STRIDE)
    region = [side * tiny.IMAGE_SIZE / source_size for side in box]

    def weights(w2):
        relevance = oracles.relevance(oracles.gate(describe, w1, w2), rows).reshape(7, 7)
        return oracles.resample_relevance(relevance, region, tiny.LOCAL_SIZE, 4, tiny.STRIDE)

    at = weights(w2)

    def loss(w2):
        scaled = patches * (1 + weights(w2) - at)[:, None]
        logits = oracles.vit(
            flat, None, tiny.STRIDE, "exact", local["cls"], local["pos_embedding"], scaled
        ).logits
        return (logits**2).sum()

    step = 1e-5
    for index in np.ndindex(w2.shape):
        nudge = np.zeros_like(w2)
        nudge[index] = step
        slope = (loss(w2 + nudge) - loss(w2 - nudge)) / (2 * step)
        np.testing.assert_allclose(found[index], slope, rtol=2e-3, atol=2e-3 * np.abs(found).max())


def test_no_gradient_flows_through_the_attention_maps(subject):
    """The local branch's weights aside, only the gate gets a gradient from the local loss."""
    params, images = subject
    own = gradients(tiny_aftrans(), params, images, "local")["vit"]["cls"]
    assert not np.any(own)  # the trunk's class token reaches the local branch through maps only


def test_the_local_branch_s_tokens_start_as_a_trunk_s():
    params = LocalTokens(VARIANTS["mini8"], local_size=64, stride=4).init(jax.random.key(0))[
        "params"
    ]
    assert not np.any(params["cls"])
    assert params["pos_embedding"].std() == pytest.approx(0.02, rel=0.1)
    assert params["pos_embedding"].mean() == pytest.approx(0, abs=0.002)


def test_global_logits_alone_are_those_of_both_branches(subject):
    params, images = subject
    model = tiny_aftrans()
    logits = tiny.apply(model, params, images, method="global_logits")
    both = tiny.apply(model, params, images, train=False)
    np.testing.assert_allclose(logits, both.logits["global"], atol=1e-6)
    text = jax.jit(partial(model.apply, method="global_logits")).lower({"params": params}, images)
    assert "while" not in text.as_text()  # neither labelling nor selection is in it


def test_no_tokens_by_tokens_array_is_kept_for_the_backward_pass(subject):
    params, images = subject
    model = tiny_aftrans()

    def loss(params):
        logits = tiny.apply(model, params, images, train=True).logits
        return logits["global"].sum() + logits["local"].sum()

    _, pullback = jax.vjp(loss, params)
    shapes = [leaf.shape for leaf in jax.tree.leaves(pullback) if hasattr(leaf, "shape")]
    assert shapes
    assert not [shape for shape in shapes if shape[-2:] in ((50, 50), (17, 17))]  # of either branch


def test_the_shared_trunk_hears_both_losses(subject):
    params, images = subject
    for branch in ("global", "local"):
        kernel = gradients(tiny_aftrans(), params, images, branch)["vit"]["embedding"]["kernel"]
        assert np.abs(kernel).max() > 1e-6


def test_white_images_have_a_region_and_finite_gradients(subject):
    params, _ = subject
    white = np.full((3, tiny.IMAGE_SIZE, tiny.IMAGE_SIZE, 3), 255, np.uint8)
    grads = gradients(tiny_aftrans(), params, white)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
