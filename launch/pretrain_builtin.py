"""Makes `aftrans_jax/assets/mini8.npz`, the built-in weights: `python -m launch.pretrain_builtin`.

AFTrans starts from a pretrained trunk. The labels here are other than those of the demo, which are
twelve classes of whole birds: the class token names the crown's colour and the number of bars, each
by itself, and every patch says whether a mark lies on it and which. The birds are others, too.
The head that is saved has 7 outputs, 4 colours and 3 numbers, so fine-tuning replaces it.
"""

import argparse
import importlib.resources
from typing import Any, NamedTuple, cast

import flax.linen as nn
import grain.python as grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image
from tqdm import tqdm

from aftrans_jax.data.sets.synthetic import CROWN_COLORS, NUM_BARS, draw_bird
from aftrans_jax.model.variants import VARIANTS
from aftrans_jax.model.vit import ViT, class_feature
from aftrans_jax.weights.npz import save_npz

IMAGE_SIZE = 64
GRID = 8
NUM_COLORS = len(CROWN_COLORS)
PATCH_CLASSES = 1 + NUM_COLORS + len(NUM_BARS)  # nothing, a crown's colour, a number of bars
MARK_WEIGHT = 5.0  # most patches hold no mark
# The demo draws flocks 0 and 1.
FLOCK = 10**6
HELD_OUT = 10**6 + 1


class Marks(NamedTuple):
    """A batch of birds and what their marks are."""

    image: np.ndarray
    crown: np.ndarray
    bars: np.ndarray
    patches: np.ndarray  # [batch, GRID * GRID], class of each patch


def draw(flock: int, index: int) -> Marks:
    """Returns one bird, at times seen closer, with every patch labelled that a mark lies on.

    The square around both marks is enlarged as pretraining on photos does with its random resized
    crops: the local branch will see enlarged marks.
    """
    rng = np.random.default_rng((flock, index, 1))
    bird = draw_bird(flock, index, size=IMAGE_SIZE)
    side = int(rng.uniform(max(0.4 * IMAGE_SIZE, *(bird.box[2:] - bird.box[:2])), IMAGE_SIZE + 1))
    low = np.maximum(0, np.ceil(bird.box[2:]) - side)
    high = np.minimum(bird.box[:2], IMAGE_SIZE - side)
    top, left = rng.integers(low, high, endpoint=True).tolist()
    crop = Image.fromarray(bird.image).crop((left, top, left + side, top + side))
    image = crop.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR)

    patches = np.zeros((GRID, GRID), np.int32)
    marks = ((bird.bars_box, 1 + NUM_COLORS + bird.bars), (bird.crown_box, 1 + bird.crown))
    for box, name in marks:
        start, stop = (box.reshape(2, 2) - (top, left)) * GRID / side  # in patches
        middle = (start + stop) / 2
        # A third of a patch is enough to tell; the patch in the middle always counts.
        first = np.minimum(np.floor(start + 2 / 3), np.floor(middle)).astype(int)
        last = np.maximum(np.ceil(stop - 2 / 3), np.floor(middle) + 1).astype(int)
        patches[first[0] : last[0], first[1] : last[1]] = name
    return Marks(np.asarray(image), np.array(bird.crown), np.array(bird.bars), patches.ravel())


class Answers(NamedTuple):
    """Logits [batch (patches) choices] of the three questions."""

    crown: jax.Array
    bars: jax.Array
    patches: jax.Array


class DensePretraining(nn.Module):
    """The trunk with a head on its class token and one on every patch."""

    vit: ViT

    @nn.compact
    def __call__(self, images: jax.Array) -> Answers:
        tokens, _ = self.vit.encode(
            self.vit.embed(self.vit.normalize(images)), train=True, all_tokens=True
        )
        logits = self.vit.classify(class_feature(tokens))
        patches = nn.Dense(PATCH_CLASSES, name="patches")(tokens[:, 1:])
        return Answers(logits[:, :NUM_COLORS], logits[:, NUM_COLORS:], patches)


def loss_fn(model: DensePretraining, params: Any, batch: Marks) -> jax.Array:
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels
    crown, bars, patches = cast(Answers, model.apply({"params": params}, batch.image))
    weight = jnp.where(batch.patches > 0, MARK_WEIGHT, 1.0)
    dense = (cross_entropy(patches, batch.patches) * weight).sum() / weight.sum()
    named = cross_entropy(crown, batch.crown) + cross_entropy(bars, batch.bars)
    return dense + named.mean()


def scores(model: DensePretraining, params: Any, birds: Marks) -> dict[str, float]:
    """Returns the shares of birds whose colour, bars and crown's place are named right."""
    crown, bars, patches = cast(Answers, model.apply({"params": params}, birds.image))
    is_crown = jax.nn.softmax(patches)[..., 1 : 1 + NUM_COLORS].sum(-1)
    place = (birds.patches > 0) & (birds.patches <= NUM_COLORS)
    right = {
        "color": crown.argmax(-1) == birds.crown,
        "bars": bars.argmax(-1) == birds.bars,
        "place": jnp.take_along_axis(place, is_crown.argmax(-1)[:, None], axis=1),
    }
    return {name: float(value.mean()) for name, value in right.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the built-in weights.")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    assets = importlib.resources.files("aftrans_jax") / "assets" / "mini8.npz"
    parser.add_argument("--out", default=str(assets))
    args = parser.parse_args()

    half = (0.5, 0.5, 0.5)
    vit = ViT(VARIANTS["mini8"], NUM_COLORS + len(NUM_BARS), IMAGE_SIZE, 8, "tanh", half, half)
    model = DensePretraining(vit)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, args.learning_rate, args.steps // 10, args.steps
    )
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule))

    @jax.jit
    def step(params: Any, opt_state: optax.OptState, batch: Marks) -> tuple:
        loss, grads = jax.value_and_grad(lambda p: loss_fn(model, p, batch))(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    birds = grain.MapDataset.range(args.steps * args.batch_size).map(lambda i: draw(FLOCK, i))
    read = grain.ReadOptions(num_threads=2, prefetch_buffer_size=2 * args.batch_size)
    batches = iter(birds.to_iter_dataset(read).batch(args.batch_size))
    params = model.init(jax.random.key(0), np.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8))
    params = params["params"]
    loss = jnp.inf
    opt_state = optimizer.init(params)
    for _ in (progress := tqdm(range(args.steps), desc="pretraining")):
        params, opt_state, loss = step(params, opt_state, next(batches))
        progress.set_postfix(loss=f"{loss:.3f}", refresh=False)
    held_out = Marks(*map(np.stack, zip(*(draw(HELD_OUT, i) for i in range(1000)), strict=True)))
    save_npz(args.out, params["vit"])
    print(f"loss {loss:.3f}; 1000 unseen birds:", scores(model, params, held_out), "->", args.out)


if __name__ == "__main__":
    main()
