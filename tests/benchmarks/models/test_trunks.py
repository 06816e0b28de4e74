"""Every other way to run the trunk computes what ours does, gradients included."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import CLASSES, IMAGE_SIZE, LOCAL_SIZE, STRIDE, random_params

from aftrans_jax.model.aftrans import AFTrans
from aftrans_jax.model.class_row import full_map_descriptor
from aftrans_jax.model.variants import Variant
from aftrans_jax.model.vit import ViT
from benchmarks.models import trunks
from benchmarks.models.trunks import LayeredViT, NaiveViT

VARIANT = Variant(patch_size=4, hidden=12, mlp=20, layers=2, heads=3)
TOKENS = (1 + 7 * 7, 1 + 4 * 4)  # of the global and the local branch


def build(kind, **changes) -> AFTrans:
    fields = {"gelu": "tanh", "mean": (0.5,) * 3, "std": (0.5,) * 3} | changes
    vit = kind(VARIANT, CLASSES, IMAGE_SIZE, STRIDE, **fields)
    return AFTrans(vit, LOCAL_SIZE, keep_ratio=0.3, reduction=1, min_box=5)


@pytest.fixture(scope="module")
def subject():
    """Fresh numbers in every run, of ordinary size everywhere."""
    seed = np.random.SeedSequence().entropy
    print(f"seed {seed}")  # shown when a test fails
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (3, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    params = random_params(build(ViT), rng, images)
    squeeze = params["sacm"]["squeeze"]["kernel"]  # one of two opposite hidden units is alive
    params["sacm"]["squeeze"]["kernel"] = squeeze.at[:, 1].set(-squeeze[:, 0])
    return params, images, jnp.asarray(rng.integers(0, CLASSES, 3))


def loss(model, images, labels, params):
    output = model.apply({"params": params}, images, train=True)
    log_likelihoods = [jax.nn.log_softmax(logits) for logits in output.logits.values()]
    rows = jnp.arange(len(labels))
    return -sum(likelihood[rows, labels].mean() for likelihood in log_likelihoods), output


OTHERS = [
    kind
    for kind in vars(trunks).values()
    if isinstance(kind, type) and issubclass(kind, ViT) and not kind.__subclasses__()
]


def value_and_gradient(kind, subject):
    params, images, labels = subject
    return jax.jit(jax.value_and_grad(partial(loss, build(kind), images, labels), has_aux=True))(
        params
    )


@pytest.fixture(scope="module")
def expected(subject):
    return value_and_gradient(ViT, subject)


@pytest.mark.parametrize("kind", OTHERS)
def test_logits_loss_and_gradients_equal_ours(subject, expected, kind):
    (ours, output), gradient = expected
    (theirs, other), their_gradient = value_and_gradient(kind, subject)
    np.testing.assert_array_equal(output.region.box, other.region.box)
    np.testing.assert_array_equal(output.region.mask, other.region.mask)
    for branch in ("global", "local"):
        found, wanted = other.logits[branch], output.logits[branch]
        np.testing.assert_allclose(found, wanted, atol=2e-5, rtol=1e-4)
    np.testing.assert_allclose(theirs, ours, rtol=1e-4)
    assert jax.tree.structure(gradient) == jax.tree.structure(their_gradient)
    for path, wanted in jax.tree_util.tree_leaves_with_path(gradient):
        found = dict(jax.tree_util.tree_leaves_with_path(their_gradient))[path]
        error, bound = np.abs(found - wanted).max(), 4e-5 * np.abs(wanted).max() + 2e-6
        assert error <= bound, jax.tree_util.keystr(path)
    assert np.abs(gradient["sacm"]["excite"]["kernel"]).max() > 0


def kept_maps(model, subject) -> list[int]:
    """The tokens of each array [batch heads tokens tokens] that the backward pass is given."""
    params, images, labels = subject
    loss_of = partial(loss, model, images, labels)
    pullback = jax.eval_shape(lambda params: jax.vjp(loss_of, params, has_aux=True)[1], params)
    shapes = [leaf.shape for leaf in jax.tree.leaves(pullback)]
    assert shapes
    return [shape[-1] for shape in shapes if len(shape) == 4 and shape[-1] == shape[-2]]


def test_every_map_is_kept_for_the_backward_pass(subject):
    kept = kept_maps(build(NaiveViT), subject)
    for tokens in TOKENS:
        assert kept.count(tokens) >= VARIANT.layers
    assert not set(kept_maps(build(ViT), subject)) & set(TOKENS)


def test_what_other_trunks_lack_is_refused(subject):
    params, images, labels = subject
    with pytest.raises(ValueError, match=r"dropout=0\.1.*expected 0"):
        jax.eval_shape(partial(loss, build(LayeredViT, dropout=0.1), images, labels), params)
    model = build(NaiveViT).clone(descriptor="full_map")
    with pytest.raises(ValueError, match=full_map_descriptor.__name__):
        jax.eval_shape(partial(loss, model, images, labels), params)


def kept_bytes(kind, subject) -> int:
    """The arrays that are stored for the backward pass."""
    params, images, labels = subject
    loss_of = partial(loss, build(kind), images, labels)
    pullback = jax.eval_shape(lambda params: jax.vjp(loss_of, params, has_aux=True)[1], params)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(pullback))


def test_the_less_is_kept_the_more_is_computed_again(subject):
    kinds = trunks.RematViT, trunks.RematButProductsViT, ViT, NaiveViT
    sizes = [kept_bytes(kind, subject) for kind in kinds]
    assert sizes == sorted(set(sizes))


def test_a_float32_stream_is_added_to_in_float32(subject):
    params, images, labels = subject
    halves, sums = {"dtype": jnp.dtype("bfloat16")}, []
    for kind in (ViT, trunks.Float32ResidualViT):
        traced = jax.make_jaxpr(partial(loss, build(kind, **halves), images, labels))(params)
        sums.append(str(traced).count(f":f32[3,{TOKENS[0]},{VARIANT.hidden}] = add "))
    assert sums[1] >= sums[0] + 2  # of a block, behind attention and perceptron
