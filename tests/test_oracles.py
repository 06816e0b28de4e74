"""The oracle itself, against numbers worked out by hand and against scipy, PIL and OpenCV."""

import math

import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import scipy.ndimage
import scipy.signal
import scipy.special
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from PIL import Image
from places import REAL

PATCH, STRIDE = 16, 12  # 37 x 37 patches at 448, 18 x 18 at 224


def tiny_tree(rng, grid, layers=2, heads=2, head_dim=3, patch=4, classes=5):
    hidden = heads * head_dim
    tree = {
        "embedding/kernel": rng.normal(size=(patch, patch, 3, hidden)) / patch,
        "cls": rng.normal(size=(1, 1, hidden)),
        "Transformer/posembed_input/pos_embedding": rng.normal(size=(1, 1 + grid**2, hidden)),
        "head/kernel": rng.normal(size=(hidden, classes)),
    }
    for name, size in [("embedding/bias", hidden), ("head/bias", classes)]:
        tree[name] = rng.normal(size=size)
    norms = ["Transformer/encoder_norm"]
    for layer in range(layers):
        block = f"Transformer/encoderblock_{layer}"
        norms += [f"{block}/LayerNorm_0", f"{block}/LayerNorm_2"]
        attention = f"{block}/MultiHeadDotProductAttention_1"
        for name in ["query", "key", "value"]:
            tree[f"{attention}/{name}/kernel"] = rng.normal(size=(hidden, heads, head_dim))
            tree[f"{attention}/{name}/bias"] = rng.normal(size=(heads, head_dim))
        tree[f"{attention}/out/kernel"] = rng.normal(size=(heads, head_dim, hidden))
        tree[f"{attention}/out/bias"] = rng.normal(size=hidden)
        for dense, shape in [("Dense_0", (hidden, 7)), ("Dense_1", (7, hidden))]:
            tree[f"{block}/MlpBlock_3/{dense}/kernel"] = rng.normal(size=shape)
            tree[f"{block}/MlpBlock_3/{dense}/bias"] = rng.normal(size=shape[1])
    for norm in norms:
        tree[f"{norm}/scale"] = rng.normal(size=hidden)
        tree[f"{norm}/bias"] = rng.normal(size=hidden)
    return tree


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# Elementary maps.


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_matches_scipy_where_exp_would_overflow(rng, axis):
    x = rng.normal(size=(3, 4, 5)) * 2000
    expected = scipy.special.log_softmax(x, axis=axis)
    np.testing.assert_allclose(oracles.log_softmax(x, axis), expected, rtol=1e-13, atol=1e-12)
    np.testing.assert_allclose(oracles.softmax(x, axis), np.exp(expected), atol=1e-12)


def test_gelu_golden():
    assert oracles.gelu(np.array(1.0), "exact") == pytest.approx(0.8413447460685429, abs=1e-15)
    # 0.5 * (1 + tanh(sqrt(2 / pi) * 1.044715)), as PyTorch's approximate="tanh"
    assert oracles.gelu(np.array(1.0), "tanh") == pytest.approx(0.8411919906082768, abs=1e-15)
    with pytest.raises(KeyError):
        oracles.gelu(np.array(1.0), "relu")


def test_layer_norm_golden():
    y = oracles.layer_norm(np.array([1.0, 3.0]), np.array([2.0, 2.0]), np.array([0.0, 1.0]))
    np.testing.assert_allclose(y, [-2.0, 3.0], atol=2e-6)  # mean 2, variance 1
    zero_variance = oracles.layer_norm(np.full(2, 1e-3) * [1, -1], 1.0, 0.0)
    np.testing.assert_allclose(zero_variance, np.sqrt([0.5, 0.5]) * [1, -1])  # eps is 1e-6


def test_cross_entropy_golden():
    logits = np.log([0.1, 0.2, 0.7]) + 5
    assert oracles.cross_entropy(logits, 1) == pytest.approx(-np.log(0.2))


def test_jax_float32_input_is_computed_in_float64(rng):
    tree = {name: array.astype(np.float32) for name, array in tiny_tree(rng, grid=2).items()}
    image = rng.normal(size=(8, 8, 3)).astype(np.float32)
    expected = oracles.vit(
        {name: array.astype(np.float64) for name, array in tree.items()}, image, 4, "exact"
    )
    on_device = {name: jnp.asarray(array) for name, array in tree.items()}
    seen = oracles.vit(on_device, jnp.asarray(image), 4, "exact")
    assert seen.logits.dtype == np.float64
    np.testing.assert_array_equal(seen.logits, expected.logits)


# Vision transformer.


def test_patch_embed_is_a_strided_correlation(rng):
    tree = tiny_tree(rng, grid=4)
    image = rng.normal(size=(13, 16, 3))
    hidden = tree["embedding/bias"].size
    expected = np.empty((4, 5, hidden))
    for h in range(hidden):
        full = scipy.signal.correlate(image, tree["embedding/kernel"][..., h], mode="valid")
        expected[..., h] = full[::3, ::3, 0] + tree["embedding/bias"][h]
    tokens = oracles.patch_embed(tree, image, 3)
    np.testing.assert_allclose(tokens, expected.reshape(20, hidden), atol=1e-12)


def test_attention_block_matches_scalar_loops(rng):
    tree, prefix = tiny_tree(rng, grid=2), "Transformer/encoderblock_1"
    prefix += "/MultiHeadDotProductAttention_1"
    x = rng.normal(size=(5, 6))
    output, log_attention = oracles.attention_block(tree, prefix, x)
    expected = np.tile(tree[f"{prefix}/out/bias"], (5, 1))

    def project(name, token, head):
        kernel, bias = tree[f"{prefix}/{name}/kernel"], tree[f"{prefix}/{name}/bias"]
        return [x[token] @ kernel[:, head, d] + bias[head, d] for d in range(3)]

    for head in range(2):
        for q in range(5):
            scores = [np.dot(project("query", q, head), project("key", k, head)) for k in range(5)]
            weights = [math.exp(score / math.sqrt(3)) for score in scores]
            weights = np.array(weights) / sum(weights)
            np.testing.assert_allclose(np.exp(log_attention[head, q]), weights, atol=1e-12)
            mixed = sum(weights[k] * np.array(project("value", k, head)) for k in range(5))
            expected[q] += mixed @ tree[f"{prefix}/out/kernel"][head]
    np.testing.assert_allclose(output, expected, atol=1e-12)


def test_blocks_are_pre_norm_residual(rng):
    tree = tiny_tree(rng, grid=2, layers=1)
    block = "Transformer/encoderblock_0"
    tree[f"{block}/LayerNorm_0/scale"] *= 0  # attention sees only the bias: every map is uniform
    for name in ["kernel", "bias"]:  # and the MLP adds nothing
        tree[f"{block}/MlpBlock_3/Dense_1/{name}"] *= 0
    view = oracles.vit(tree, rng.normal(size=(8, 8, 3)), 4, "exact")
    np.testing.assert_allclose(view.attention, 1 / 5, atol=1e-12)
    seen = tree[f"{block}/LayerNorm_0/bias"]
    attention = f"{block}/MultiHeadDotProductAttention_1"
    value = np.einsum("i,ihd->hd", seen, tree[f"{attention}/value/kernel"])
    value += tree[f"{attention}/value/bias"]
    x = tree["cls"][0, 0] + tree["Transformer/posembed_input/pos_embedding"][0, 0]
    x = x + np.einsum("hd,hdo->o", value, tree[f"{attention}/out/kernel"])
    x = x + tree[f"{attention}/out/bias"]
    x = (x - x.mean()) / np.sqrt(x.var() + 1e-6)
    x = x * tree["Transformer/encoder_norm/scale"] + tree["Transformer/encoder_norm/bias"]
    np.testing.assert_allclose(view.features, x, atol=1e-12)
    np.testing.assert_allclose(view.logits, x @ tree["head/kernel"] + tree["head/bias"])


def test_overrides_stand_in_for_the_trees_own(rng):
    tree, image = tiny_tree(rng, grid=3), rng.normal(size=(10, 10, 3))
    cls, pos = rng.normal(size=(1, 1, 6)), rng.normal(size=(1, 10, 6))
    position = "Transformer/posembed_input/pos_embedding"
    expected = oracles.vit({**tree, "cls": cls, position: pos}, image, 3, "tanh")
    tokens = oracles.patch_embed(tree, image, 3)
    seen = oracles.vit(tree, image, 3, "tanh", cls=cls, pos_embedding=pos)
    given_tokens = oracles.vit(tree, None, 3, "tanh", cls, pos, patch_embeddings=tokens)
    for view in [seen, given_tokens]:
        np.testing.assert_array_equal(view.logits, expected.logits)
        np.testing.assert_array_equal(view.log_attention, expected.log_attention)
    assert not np.allclose(seen.logits, oracles.vit(tree, image, 3, "tanh").logits)


def test_resize_pos_embedding_is_corner_aligned():
    grid = np.add.outer(10.0 * np.arange(2), np.arange(2))  # a plane stays a plane
    pos = np.concatenate([[99.0], grid.ravel()]).reshape(1, 5, 1)
    resized = oracles.resize_pos_embedding(pos, 3)[0, :, 0]
    np.testing.assert_allclose(resized, [99, 0, 0.5, 1, 5, 5.5, 6, 10, 10.5, 11], atol=1e-12)
    np.testing.assert_array_equal(oracles.resize_pos_embedding(pos, 2), pos)
    peak = np.array([5, 0, 0, 0, 0, 8, 0, 0, 0, 0.0]).reshape(1, 10, 1)  # linear, not a spline
    line = np.array([0, 0.5, 1, 0.5, 0])
    expected = np.concatenate([[5], 8 * np.outer(line, line).ravel()])
    np.testing.assert_allclose(oracles.resize_pos_embedding(peak, 5)[0, :, 0], expected)


# SACM.


def test_head_fusion_golden():
    log_rows = np.log([[0.1, 0.4, 0.2], [0.4, 0.4, 0.1]])
    product, geometric, mean = (
        np.exp(oracles.fuse_heads(log_rows, kind)) for kind in ["product", "geometric", "mean"]
    )
    np.testing.assert_allclose(product, [0.04, 0.16, 0.02])
    np.testing.assert_allclose(geometric, np.sqrt([0.04, 0.16, 0.02]))
    np.testing.assert_allclose(mean, [0.25, 0.4, 0.15])
    with_class_key = np.insert(log_rows, 0, np.log(0.3), axis=1)  # [heads, keys]
    log_attention = np.full((1, 2, 4, 4), np.log(0.25))
    log_attention[0, :, 0] = with_class_key
    rows = oracles.layer_rows(log_attention, "product")
    np.testing.assert_allclose(rows, [[2 / 11, 8 / 11, 1 / 11]])
    rows = oracles.layer_rows(log_attention, "mean")
    np.testing.assert_allclose(rows, [[0.3125, 0.5, 0.1875]])


def test_fusion_survives_where_the_raw_product_underflows():
    log_rows = np.tile([-300.0, -299.0, -298.0, -297.0], (12, 1))
    assert np.exp(log_rows).prod(axis=0).max() == 0
    log_attention = np.pad(log_rows[None, :, None], ((0, 0), (0, 0), (0, 4), (1, 0)))
    rows = oracles.layer_rows(log_attention, "geometric")
    np.testing.assert_allclose(rows[0], scipy.special.softmax([0, 1, 2, 3]))


def test_descriptor_golden():
    log_attention = np.zeros((2, 2, 3, 3))  # [layers, heads, queries, keys]
    log_attention[0, :, 0] = [[100, -1, -2], [100, -3, -4]]  # sums over heads: -4, -6
    log_attention[1, :, 0] = [[100, -5, -1], [100, -5, -1]]  # -10, -2
    log_attention[1, 1, 2, 2] = -900
    pooled = np.array([-5.0, -6.0])
    expected = (pooled + 5.5) / (0.5 + 1e-6)
    np.testing.assert_allclose(oracles.descriptor(log_attention, "class_row"), expected)
    pooled = np.array([200 - 10, 200 - 12 - 900]) / 9
    expected = (pooled - pooled.mean()) / (pooled.std() + 1e-6)
    np.testing.assert_allclose(oracles.descriptor(log_attention, "full_map"), expected)
    same = np.full((3, 2, 4, 4), -1.0)  # no spread over layers: zeros, not NaN
    np.testing.assert_array_equal(oracles.descriptor(same, "class_row"), 0)


def test_gate_and_relevance_golden():
    w1, w2 = np.array([[1.0], [-2.0]]), np.array([[np.log(3.0), -np.log(3.0)]])
    np.testing.assert_allclose(oracles.gate(np.array([3.0, 1.0]), w1, w2), [0.75, 0.25])
    np.testing.assert_allclose(oracles.gate(np.array([1.0, 3.0]), w1, w2), [0.5, 0.5])  # relu
    fused = oracles.relevance(np.array([0.75, 0.25]), np.array([[0.2, 0.8], [0.6, 0.4]]))
    np.testing.assert_allclose(fused, [0.3, 0.7])


def test_select_golden():
    gate = np.ones(2)
    rows = np.array([[0.50, 0.01, 0.09, 0.40], [0.02, 0.55, 0.13, 0.30]])
    # relevance .52 .56 .22 .70; the four largest pairs: .55 (1), .50 (0), .40 (3), .30 (3)
    chosen = {k: oracles.select(gate, rows, 0.5, k) for k in ["fused", "union", "votes"]}
    np.testing.assert_array_equal(chosen["fused"], [False, True, False, True])
    np.testing.assert_array_equal(chosen["union"], [True, True, False, True])
    np.testing.assert_array_equal(chosen["votes"], [False, True, False, True])  # 1+ 1+ 0+ 2+
    closed_gate = oracles.select(np.array([1.0, 0.01]), rows, 0.5, "fused")
    np.testing.assert_array_equal(closed_gate, [True, False, False, True])


def test_votes_go_before_relevance():
    rows = np.array([[0.9, 0.26], [0.01, 0.25], [0.01, 0.25]])  # relevance .92 .76
    np.testing.assert_array_equal(oracles.select(np.ones(3), rows, 0.5, "fused"), [True, False])
    # three pairs: .9 (0), .26 (1), then .25 (1) twice, a tie: both count
    np.testing.assert_array_equal(oracles.select(np.ones(3), rows, 0.5, "votes"), [False, True])
    # pairs .9 (0), .18 (1) twice: relevance .90 .36 is worth half a vote at most
    rows = np.array([[0.9, 0.18, 0.0], [0.0, 0.18, 0.0]])
    chosen = oracles.select(np.ones(2), rows, 0.4, "votes")  # 1.5, 2.2, 0
    np.testing.assert_array_equal(chosen, [False, True, False])


@pytest.mark.parametrize(
    ("patches", "keep_ratio", "kept"),
    [(1369, 0.2, 274), (1369, 0.4, 548), (5, 0.5, 2), (7, 0.5, 4), (9, 0.01, 1), (9, 1.0, 9)],
)
def test_select_rounds_half_to_even_and_keeps_at_least_one(rng, patches, keep_ratio, kept):
    rows = rng.permutation(3 * patches).reshape(3, patches) + rng.uniform(size=(3, patches)) / 2
    assert oracles.select(np.ones(3), rows, keep_ratio, "fused").sum() == kept


def test_select_keeps_every_tie():
    assert oracles.select(np.ones(2), np.ones((2, 6)), 0.2, "fused").all()


# Regions.


def test_components_are_8_connected():
    diagonal = np.eye(4, dtype=bool)
    np.testing.assert_array_equal(oracles.largest_component(diagonal), diagonal)


def test_largest_component_ties_go_to_the_first_in_raster_order():
    mask = np.array([[0, 0, 0, 1], [1, 0, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0]], bool)
    expected = np.zeros((4, 4), bool)
    expected[:2, 3] = True  # met in row 0, before the column on the left
    np.testing.assert_array_equal(oracles.largest_component(mask), expected)


def flood_fill_components(mask):
    todo, parts = set(zip(*np.nonzero(mask), strict=True)), []
    while todo:
        front = [min(todo)]
        part = set()
        while front:
            r, c = front.pop()
            if (r, c) in todo:
                todo.remove((r, c))
                part.add((r, c))
                front += [(r + dr, c + dc) for dr in (-1, 0, 1) for dc in (-1, 0, 1)]
        parts.append(part)
    return parts  # in raster order of their first patch


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
@settings(deadline=None, max_examples=30)
def test_largest_component_matches_a_flood_fill(mask):
    expected = np.zeros(mask.shape, bool)
    for r, c in max(flood_fill_components(mask), key=len, default=()):
        expected[r, c] = True
    np.testing.assert_array_equal(oracles.largest_component(mask), expected)


def test_box_golden():
    mask = np.zeros((37, 37), bool)
    mask[2:5, 30:37] = True
    mask[36, 0] = True
    box = oracles.box_from_mask(mask, mask, PATCH, STRIDE, 448, 32, "largest_component")
    assert box == (24, 360, 64, 448)
    box = oracles.box_from_mask(mask, mask, PATCH, STRIDE, 448, 32, "extreme_values")
    assert box == (24, 0, 448, 448)
    assert all(type(edge) is int for edge in box)


@pytest.mark.parametrize("method", ["largest_component", "extreme_values"])
def test_small_and_empty_masks_become_the_whole_image(method):
    mask = np.zeros((37, 37), bool)
    assert oracles.box_from_mask(mask, mask, PATCH, STRIDE, 448, 1, method) == (0, 0, 448, 448)
    mask[3, 4:8] = True  # 16 x 52 pixels
    assert oracles.box_from_mask(mask, mask, PATCH, STRIDE, 448, 16, method) == (36, 48, 52, 100)
    assert oracles.box_from_mask(mask, mask, PATCH, STRIDE, 448, 17, method) == (0, 0, 448, 448)
    box = oracles.box_from_mask(mask.T, mask.T, PATCH, STRIDE, 448, 17, method)
    assert box == (0, 0, 448, 448)


def test_crop_golden():
    line = np.array([0.0, 4.0, 8.0, 99.0])
    image = np.stack([line, line])
    halved = oracles.bilinear_crop(image, (0, 0, 2, 2), 1)
    np.testing.assert_array_equal(halved, [[2.0]])
    doubled = oracles.bilinear_crop(image, (0, 1, 2, 3), 4)  # 4, 8 only: 99 never leaks in
    np.testing.assert_allclose(doubled, np.tile([4, 5, 7, 8], (4, 1)))
    np.testing.assert_array_equal(
        oracles.bilinear_crop(image[:, :2], (0, 0, 2, 2), 2), image[:, :2]
    )


BOXES = [(0, 0, 40, 40), (3, 5, 23, 40), (36, 0, 40, 33), (1, 2, 2, 3)]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("size", [7, 40, 61])
def test_crop_matches_scipy(rng, box, size):
    image = rng.uniform(size=(40, 40, 3))
    top, left, bottom, right = box
    part = image[top:bottom, left:right]
    ys = (np.arange(size) + 0.5) * (bottom - top) / size - 0.5
    xs = (np.arange(size) + 0.5) * (right - left) / size - 0.5
    points = np.meshgrid(ys, xs, indexing="ij")
    expected = [
        scipy.ndimage.map_coordinates(part[..., c], points, order=1, mode="nearest")
        for c in range(3)
    ]
    np.testing.assert_allclose(
        oracles.bilinear_crop(image, box, size), np.stack(expected, -1), atol=1e-12
    )


@pytest.mark.parametrize("box", BOXES)
def test_enlarging_crop_matches_pil(rng, box):
    image = rng.uniform(size=(40, 40)).astype(np.float32)  # PIL antialiases only when it shrinks
    top, left, bottom, right = box
    part = Image.fromarray(image[top:bottom, left:right])
    expected = np.asarray(part.resize((61, 61), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(oracles.bilinear_crop(image, box, 61), expected, atol=1e-6)


@pytest.mark.parametrize("size", [7, 61])
@pytest.mark.parametrize("box", BOXES)
def test_crop_matches_opencv(rng, box, size):
    cv2 = pytest.importorskip("cv2")
    image = rng.uniform(size=(40, 40, 3)).astype(np.float32)
    top, left, bottom, right = box
    part = np.ascontiguousarray(image[top:bottom, left:right])
    expected = cv2.resize(part, (size, size), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(oracles.bilinear_crop(image, box, size), expected, atol=1e-5)


def test_resample_relevance_golden():
    grid = np.array([[1.0, 2.0], [3.0, 10.0]])  # patch 2, stride 2, image 4: centres at 1 and 3
    whole = oracles.resample_relevance(grid, (0, 0, 4, 4), 4, 2, 2)
    np.testing.assert_allclose(whole, grid.ravel() / 4)  # same geometry: the grid itself
    # the lower right quarter: centres at 2.5 and 3.5 px -> grid 0.75 and 1.25, clamped to 1
    part = oracles.resample_relevance(grid, (2, 2, 4, 4), 4, 2, 2)
    inner = 1 / 16 * 1 + 3 / 16 * 2 + 3 / 16 * 3 + 9 / 16 * 10
    expected = np.array([inner, 0.25 * 2 + 0.75 * 10, 0.25 * 3 + 0.75 * 10, 10])
    np.testing.assert_allclose(part, expected / expected.mean())


def test_resample_relevance_reads_pixel_coordinates_at_full_size():
    rows, cols = np.mgrid[0:37, 0:37]
    plane = 1.0 + (STRIDE * rows + PATCH / 2) + 1000 * (STRIDE * cols + PATCH / 2)
    seen = oracles.resample_relevance(plane, (24, 60, 324, 160), 224, PATCH, STRIDE).reshape(18, 18)
    centres = STRIDE * np.arange(18) + PATCH / 2  # pixels of the crop; all well inside the image
    ys, xs = 24 + centres * 300 / 224, 60 + centres * 100 / 224
    expected = 1 + ys[:, None] + 1000 * xs
    np.testing.assert_allclose(seen, expected / expected.mean())


def test_iou_and_contains_golden():
    assert oracles.iou((0, 0, 10, 10), (5, 5, 15, 15)) == pytest.approx(25 / 175)
    assert oracles.iou((0, 0, 10, 10), (10, 0, 20, 10)) == 0
    for apart in [(20, 20, 30, 30), (0, 20, 10, 30), (20, 0, 30, 10)]:
        assert oracles.iou((0, 0, 10, 10), apart) == 0
    assert oracles.iou((0, 2, 4, 8), (0, 2, 4, 8)) == 1
    assert oracles.contains((0, 0, 10, 10), (0, 2, 10, 8))
    for outside in [(-1, 0, 5, 5), (0, -1, 5, 5), (5, 5, 11, 10), (5, 5, 10, 11)]:
        assert not oracles.contains((0, 0, 10, 10), outside)


# The whole.


def test_aftrans_joins_its_parts(rng):
    tree, stride, local_size = tiny_tree(rng, grid=6, layers=3), 3, 13
    image = rng.normal(size=(19, 19, 3))
    cls, pos = rng.normal(size=(1, 1, 6)), rng.normal(size=(1, 17, 6))
    w1, w2 = rng.normal(size=(3, 2)), rng.normal(size=(2, 3))
    out = oracles.aftrans(
        tree, cls, pos, w1, w2, image, 19, local_size, stride, "tanh",
        0.3, "geometric", "class_row", "fused", 5, "largest_component",
    )  # fmt: skip
    view = oracles.vit(tree, image, stride, "tanh")
    np.testing.assert_array_equal(out.global_logits, view.logits)
    np.testing.assert_allclose(out.rows.sum(axis=1), 1)
    assert out.gate.shape == (3,)
    assert np.all((out.gate > 0) & (out.gate < 1))
    np.testing.assert_array_equal(out.relevance, out.gate @ out.rows)
    assert out.mask.sum() == 11  # round(36 * 0.3)
    np.testing.assert_array_equal(out.mask.ravel(), out.relevance >= np.sort(out.relevance)[-11])
    assert oracles.contains((0, 0, 19, 19), out.box)
    assert out.box != (0, 0, 19, 19)
    np.testing.assert_array_equal(out.crop, oracles.crop(image, out.box, local_size))
    assert out.crop.shape == (13, 13, 3)
    local = oracles.vit(tree, out.crop, stride, "tanh", cls, pos)
    np.testing.assert_array_equal(out.local_logits, local.logits)


def test_real_weights_see_albatrosses():
    photos = sorted((REAL / "cub10/CUB_200_2011/images").glob("00[1-3]*/*.jpg"))[::32]
    if not photos:
        pytest.skip(f"no photos under {REAL}")
    with np.load(REAL / "deit_tiny_patch16_224.npz") as file:
        tree = dict(file)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    top1 = []
    for photo in photos:
        with Image.open(photo) as opened:
            image = opened.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
        view = oracles.vit(tree, (np.asarray(image) / 255 - mean) / std, 16, "exact")
        top1.append(int(view.logits.argmax()))
    assert len(top1) >= 5
    assert np.mean(np.array(top1) == 146) >= 0.8, top1  # 146 is ImageNet's albatross
