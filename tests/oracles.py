"""An independent reference of the method in float64 numpy and scipy.

Written from the paper and the choices alone, for tests to compare the JAX code with. It favours the
obviously right: one image at a time, whole tokens x tokens attention maps, no tricks. Parameters
are a flat dict under the official npz names; token 0 is the class token; boxes are (top, left,
bottom, right), half-open, in pixels. This file imports nothing from aftrans_jax.
"""

import functools
from typing import NamedTuple

import numpy as np
import scipy.ndimage
import scipy.special
from PIL import Image

Box = tuple[int, int, int, int]
Tree = dict[str, np.ndarray]


def in_float64(function):
    """Cast array arguments first: a float32 or JAX array would lower the precision silently."""

    def cast(value):
        if isinstance(value, dict):
            return {name: cast(array) for name, array in value.items()}
        if not hasattr(value, "dtype"):
            return value
        array = np.asarray(value)
        return array if array.dtype.kind in "biu" else array.astype(np.float64, copy=False)

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        return function(*map(cast, args), **cast(kwargs))

    return wrapped


@in_float64
def log_softmax(x, axis):
    shifted = x - np.max(x, axis=axis, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


def softmax(x, axis):
    return np.exp(log_softmax(x, axis))


@in_float64
def gelu(x, kind):
    exact = scipy.special.erf(x / np.sqrt(2))
    tanh = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    return x / 2 * (1 + {"exact": exact, "tanh": tanh}[kind])


def layer_norm(x, scale, bias, eps=1e-6):
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps) * scale + bias


def cross_entropy(logits, label):
    return -log_softmax(logits, axis=-1)[label]


class ViT(NamedTuple):
    """One image through the trunk. `log_attention` is [layers, heads, queries, keys]."""

    logits: np.ndarray  # [classes]
    features: np.ndarray  # [hidden], the class token after the final norm
    log_attention: np.ndarray
    patch_embeddings: np.ndarray  # [patches, hidden], before the position embedding

    @property
    def attention(self):
        return np.exp(self.log_attention)


def grid_shape(image_size, patch, stride):
    """Return how many whole patches fit along one side."""
    return (image_size - patch) // stride + 1


@in_float64
def patch_embed(params: Tree, image, stride):
    """Return [patches, hidden] for a normalised image [height, width, 3], raster order."""
    kernel, bias = params["embedding/kernel"], params["embedding/bias"]
    patch = kernel.shape[0]
    rows, cols = (grid_shape(side, patch, stride) for side in image.shape[:2])
    corners = [(stride * r, stride * c) for r in range(rows) for c in range(cols)]
    windows = np.stack([image[y : y + patch, x : x + patch] for y, x in corners])
    return np.tensordot(windows, kernel, axes=3) + bias


def attention_block(params: Tree, prefix, x):
    """Return (output [tokens, hidden], log attention [heads, queries, keys])."""

    def project(name):  # -> [heads, tokens, head_dim]
        projected = np.tensordot(x, params[f"{prefix}/{name}/kernel"], axes=1)
        return (projected + params[f"{prefix}/{name}/bias"]).transpose(1, 0, 2)

    query, key, value = project("query"), project("key"), project("value")
    log_attention = log_softmax(query @ key.mT / np.sqrt(query.shape[-1]), axis=-1)
    mixed = np.exp(log_attention) @ value  # [heads, tokens, head_dim]
    output = np.sum(mixed @ params[f"{prefix}/out/kernel"], axis=0)
    return output + params[f"{prefix}/out/bias"], log_attention


def mlp_block(params: Tree, prefix, x, kind):
    x = gelu(x @ params[f"{prefix}/Dense_0/kernel"] + params[f"{prefix}/Dense_0/bias"], kind)
    return x @ params[f"{prefix}/Dense_1/kernel"] + params[f"{prefix}/Dense_1/bias"]


def norm(params: Tree, name, x):
    return layer_norm(x, params[f"{name}/scale"], params[f"{name}/bias"])


def encoder_block(params: Tree, layer, x, gelu):
    """Return (tokens [tokens, hidden], log attention [heads, queries, keys])."""
    block = f"Transformer/encoderblock_{layer}"
    mixed, log_map = attention_block(
        params, f"{block}/MultiHeadDotProductAttention_1", norm(params, f"{block}/LayerNorm_0", x)
    )
    x = x + mixed
    normed = norm(params, f"{block}/LayerNorm_2", x)
    return x + mlp_block(params, f"{block}/MlpBlock_3", normed, gelu), log_map


def depth(params: Tree):
    """Return the number of layers."""
    return len({name.split("/")[1] for name in params if "/encoderblock_" in name})


def classify(params: Tree, features):
    return features @ params["head/kernel"] + params["head/bias"]


@in_float64
def vit(params: Tree, image, stride, gelu, cls=None, pos_embedding=None, patch_embeddings=None):
    """Return the trunk's view of one image.

    `cls` [1, 1, hidden] and `pos_embedding` [1, tokens, hidden] stand in for the tree's own (the
    local branch); `patch_embeddings` [patches, hidden] stands in for the projected image, which
    may then be None.
    """
    if patch_embeddings is None:
        patch_embeddings = patch_embed(params, image, stride)
    cls = params["cls"] if cls is None else cls
    if pos_embedding is None:
        pos_embedding = params["Transformer/posembed_input/pos_embedding"]

    x = np.concatenate([cls[0], patch_embeddings]) + pos_embedding[0]
    log_attention = []
    for layer in range(depth(params)):
        x, log_map = encoder_block(params, layer, x, gelu)
        log_attention.append(log_map)
    features = norm(params, "Transformer/encoder_norm", x)[0]
    return ViT(classify(params, features), features, np.stack(log_attention), patch_embeddings)


@in_float64
def resize_pos_embedding(pos, new_grid):
    """Return [1, 1 + new_grid**2, hidden]: the grid zoomed corner-aligned, the class row kept."""
    old_grid = round(np.sqrt(pos.shape[1] - 1))
    grid, factor = pos[0, 1:].reshape(old_grid, old_grid, -1), new_grid / old_grid
    grid = scipy.ndimage.zoom(grid, (factor, factor, 1), order=1, mode="nearest")
    return np.concatenate([pos[:, :1], grid.reshape(1, new_grid**2, -1)], axis=1)


@in_float64
def fuse_heads(log_rows, kind):
    """Return the fused log row [patches] of one layer's log class rows [heads, patches] (eq. 6)."""
    return {
        "product": np.sum(log_rows, axis=0),
        "geometric": np.mean(log_rows, axis=0),
        "mean": scipy.special.logsumexp(log_rows, axis=0) - np.log(len(log_rows)),
    }[kind]


def layer_rows(log_attention, kind):
    """Return [layers, patches]: every layer's fused class row, renormalised to sum 1."""
    class_rows = log_attention[:, :, 0, 1:]  # the class token's query, its own key dropped
    return np.stack([softmax(fuse_heads(rows, kind), axis=-1) for rows in class_rows])


@in_float64
def descriptor(log_attention, kind):
    """Return [layers]: one number a layer from the head product, standardised over layers."""
    log_product = np.sum(log_attention, axis=1)  # [layers, queries, keys]
    pooled = {
        "class_row": log_product[:, 0, 1:].mean(axis=-1),
        "full_map": log_product.mean(axis=(1, 2)),
    }[kind]
    return (pooled - pooled.mean()) / (pooled.std() + 1e-6)


@in_float64
def gate(descriptor, w1, w2):
    """Return one weight a layer in (0, 1) (eq. 9). `w1` [layers, reduced], `w2` its mirror."""
    return scipy.special.expit(np.maximum(descriptor @ w1, 0.0) @ w2)


@in_float64
def relevance(gate, rows):
    """Return [patches], the gated sum over layers (eq. 8)."""
    return np.sum(gate[:, None] * rows, axis=0)


@in_float64
def select(gate, rows, keep_ratio, kind):
    """Return bool [patches]. A value equal to the last one kept is kept too."""

    def at_least_kth(values):
        count = max(1, round(values.size * keep_ratio))
        return values >= np.sort(values, axis=None)[-count]

    fused = relevance(gate, rows)
    pairs = at_least_kth(gate[:, None] * rows)  # [layers, patches]
    return {
        "fused": at_least_kth(fused),
        "union": pairs.any(axis=0),
        "votes": at_least_kth(pairs.sum(axis=0) + 0.5 * fused / fused.max()),
    }[kind]


def largest_component(mask2d):
    """Return the largest 8-connected component of a bool grid; a tie goes to the first met."""
    labels, count = scipy.ndimage.label(mask2d, structure=np.ones((3, 3)))
    parts = [labels == name for name in range(1, count + 1)]
    empty = np.zeros(mask2d.shape, bool)
    return max(parts, key=lambda part: (part.sum(), -part.argmax()), default=empty)


def most_relevant_component(mask2d, relevance2d):
    """Return the 8-connected component of a bool grid with the largest sum of relevance."""
    labels, count = scipy.ndimage.label(mask2d, structure=np.ones((3, 3)))
    sums = scipy.ndimage.sum_labels(relevance2d, labels, range(1, count + 1))
    return labels == 1 + np.argmax(sums) if count else np.zeros(mask2d.shape, bool)


def box_from_mask(mask2d, relevance2d, patch, stride, image_size, min_box, method) -> Box:
    """Return the pixels that the chosen patches cover, or the whole image if they are too few."""
    if method == "whole":
        return 0, 0, image_size, image_size
    part = {
        "largest_component": largest_component(mask2d),
        "most_relevant_component": most_relevant_component(mask2d, relevance2d),
        "extreme_values": mask2d,
    }[method]
    patches = np.argwhere(part)  # [patches, (row, col)]
    if len(patches) > 0:
        top, left = map(int, stride * patches.min(axis=0))
        bottom, right = map(int, stride * patches.max(axis=0) + patch)
        if min(bottom - top, right - left) >= min_box:
            return top, left, bottom, right
    return 0, 0, image_size, image_size


def hat_weights(positions, size):
    """Return [positions, size]: linear interpolation at index coordinates clamped to the grid."""
    positions = np.clip(positions, 0, size - 1)
    return np.maximum(0.0, 1.0 - np.abs(positions[:, None] - np.arange(size)))


def bilinear(grid, ys, xs):
    """Return grid [rows, cols, ...] read at every pair of `ys` and `xs`."""
    weights = hat_weights(ys, grid.shape[0]), hat_weights(xs, grid.shape[1])
    return np.einsum("yr,xc,rc...->yx...", *weights, grid, optimize=True)


def crop(image, box: Box, size, resample="antialiased"):
    """Return image[top:bottom, left:right] as [size, size, channels]: PIL's or torch's bilinear."""
    if resample == "bilinear":
        return bilinear_crop(image, box, size)
    top, left, bottom, right = box
    part = np.asarray(image[top:bottom, left:right], np.float32)
    channels = [Image.fromarray(np.ascontiguousarray(x)) for x in np.moveaxis(part, -1, 0)]
    return np.stack([x.resize((size, size), Image.Resampling.BILINEAR) for x in channels], axis=-1)


@in_float64
def bilinear_crop(image, box: Box, size):
    """Return image[top:bottom, left:right] as [size, size, ...]: half-pixel, no antialiasing."""
    top, left, bottom, right = box
    centres = (np.arange(size) + 0.5) / size  # as a share of the box
    ys, xs = centres * (bottom - top) - 0.5, centres * (right - left) - 0.5
    return bilinear(image[top:bottom, left:right], ys, xs)


@in_float64
def resample_relevance(relevance_grid, box: Box, local_size, patch, stride):
    """Return [local patches]: the relevance under each local patch's centre, scaled to mean 1."""
    top, left, bottom, right = box
    centres = stride * np.arange(grid_shape(local_size, patch, stride)) + patch / 2  # crop pixels
    ys_px = top + centres * (bottom - top) / local_size  # image pixels
    xs_px = left + centres * (right - left) / local_size
    values = bilinear(relevance_grid, (ys_px - patch / 2) / stride, (xs_px - patch / 2) / stride)
    return values.ravel() / values.mean()


def area(box: Box):
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])


def iou(box_a: Box, box_b: Box):
    shared = area((*np.maximum(box_a[:2], box_b[:2]), *np.minimum(box_a[2:], box_b[2:])))
    return shared / (area(box_a) + area(box_b) - shared)


def contains(outer: Box, inner: Box):
    """Return whether no pixel of `inner` lies outside `outer`."""
    return bool(np.all(np.multiply(outer, (1, 1, -1, -1)) <= np.multiply(inner, (1, 1, -1, -1))))


class AFTrans(NamedTuple):
    global_logits: np.ndarray  # [classes]
    local_logits: np.ndarray  # [classes]
    rows: np.ndarray  # [layers, patches]
    gate: np.ndarray  # [layers]
    relevance: np.ndarray  # [patches]
    mask: np.ndarray  # bool [rows, cols], the selection before any component is taken
    box: Box
    crop: np.ndarray  # [local_size, local_size, 3]


def aftrans(params: Tree, local_cls, local_pos, w1, w2, source, image_size, local_size, stride,
            gelu, keep_ratio, head_fusion, descriptor_kind, selection, min_box, method,
            resample="antialiased", gate_kind="straight_through", layers=()):  # fmt: skip
    """Return the outputs of both branches for one square normalised photo.

    `layers` are the numbers, from 1 on, of those that are fused; none: all.
    """
    patch = params["embedding/kernel"].shape[0]
    image = source
    if len(source) != image_size:
        image = crop(source, (0, 0, *source.shape[:2]), image_size)
    grid = grid_shape(image_size, patch, stride)
    logits, _, log_attention, _ = vit(params, image, stride, gelu)
    rows = layer_rows(log_attention, head_fusion)
    weights = gate(descriptor(log_attention, descriptor_kind), w1, w2)
    if gate_kind == "ones":
        weights = np.ones(len(rows))
    is_fused = np.array([not layers or number + 1 in layers for number in range(len(rows))])
    weights = weights * is_fused
    chosen = weights[is_fused], rows[is_fused]
    mask = select(*chosen, keep_ratio, selection).reshape(grid, grid)
    fused = relevance(*chosen)
    box = box_from_mask(mask, fused.reshape(mask.shape), patch, stride, image_size, min_box, method)
    box = tuple(round(source.shape[0] / image_size * side) for side in box)
    part = crop(source, box, local_size, resample)
    local = vit(params, part, stride, gelu, cls=local_cls, pos_embedding=local_pos)
    return AFTrans(logits, local.logits, rows, weights, fused, mask, box, part)


# --------------------------------------------------------------------------------------- TransFG


@in_float64
def contrastive_loss(features: np.ndarray, labels: np.ndarray, margin: float = 0.4) -> float:
    """TransFG's `con_loss`, pair by pair: features [batch hidden], labels [batch]."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    total = 0.0
    for i in range(len(labels)):
        for j in range(len(labels)):
            cosine = float(np.dot(unit[i], unit[j]))
            total += 1 - cosine if labels[i] == labels[j] else max(cosine - margin, 0.0)
    return total / len(labels) ** 2


class TransFG(NamedTuple):
    """One image through TransFG. `parts` [heads] are tokens, of which 0 is the class token."""

    logits: np.ndarray  # [classes]
    features: np.ndarray  # [hidden]
    parts: np.ndarray


@in_float64
def transfg(params: Tree, image, stride, gelu):
    """Return TransFG's outputs for one image, by its paper's definition of part selection.

    Per head, the maps of all layers but the last are multiplied as whole matrices, later ones from
    the left; the class token's row of the product, its own entry dropped, names the head's best
    patch. The class token and these patches alone enter the last layer.
    """
    x = np.concatenate([params["cls"][0], patch_embed(params, image, stride)])
    x = x + params["Transformer/posembed_input/pos_embedding"][0]
    product, last = np.eye(len(x)), depth(params) - 1
    for layer in range(last):
        x, log_map = encoder_block(params, layer, x, gelu)
        product = np.exp(log_map) @ product
    parts = 1 + np.argmax(product[:, 0, 1:], axis=-1)
    x, _ = encoder_block(params, last, np.stack([x[0], *x[parts]]), gelu)
    features = norm(params, "Transformer/encoder_norm", x)[0]
    return TransFG(classify(params, features), features, parts)


class RAMS(NamedTuple):
    global_logits: np.ndarray  # [classes]
    local_logits: np.ndarray  # [classes]
    relevance: np.ndarray  # [patches], columns of the rollout, averaged over rows
    mask: np.ndarray  # bool [rows, cols]
    box: Box
    crop: np.ndarray  # [local_size, local_size, 3]


def rollout(attention):
    """Return [tokens, tokens] of attention [layers, heads, queries, keys], as whole matrices."""
    product = np.eye(attention.shape[-1])
    for layer in attention:
        mixed = layer.mean(axis=0) + np.eye(len(product))
        product = mixed / mixed.sum(axis=-1, keepdims=True) @ product
    return product


@in_float64
def rams(params: Tree, local_cls, local_pos, source, image_size, local_size, stride, gelu,
         min_box, threshold=1.2, resample="antialiased"):  # fmt: skip
    """Return RAMS-Trans's outputs for one square normalised photo, at two scales.

    Both passes hold both class tokens, each at a position of its own, and then the patches; the
    first class token classifies the full image, the second the crop.
    """
    patch, pos = (
        params["embedding/kernel"].shape[0],
        params["Transformer/posembed_input/pos_embedding"],
    )
    grid = grid_shape(image_size, patch, stride)
    cls = np.concatenate([params["cls"], local_cls], axis=1)

    def encode(image, positions):
        x = np.concatenate([cls[0], patch_embed(params, image, stride)])
        x = x + np.concatenate([pos[0, :1], local_pos[0, :1], positions[0, 1:]])
        attention = []
        for layer in range(depth(params)):
            x, log_map = encoder_block(params, layer, x, gelu)
            attention.append(np.exp(log_map))
        tokens = norm(params, "Transformer/encoder_norm", x)
        return classify(params, tokens[:2]), np.stack(attention)

    (global_logits, _), attention = encode(crop(source, (0, 0, *source.shape[:2]), image_size), pos)
    relevance = rollout(attention).mean(axis=0)[2:]
    mask = (relevance > threshold * relevance.mean()).reshape(grid, grid)
    box = box_from_mask(mask, relevance.reshape(mask.shape), patch, stride, image_size, min_box,
                        "largest_component")  # fmt: skip
    box = tuple(round(source.shape[0] / image_size * side) for side in box)
    part = crop(source, box, local_size, resample)
    (_, local_logits), _ = encode(part, local_pos)
    return RAMS(global_logits, local_logits, relevance, mask, box, part)
