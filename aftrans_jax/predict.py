"""Names images with a trained model: `python -m aftrans_jax.predict --workdir=runs/cub a.jpg`."""

import argparse
from pathlib import Path
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from aftrans_jax.data.examples import Example
from aftrans_jax.data.loading.decode import decode_image
from aftrans_jax.data.loading.transforms import test_transform
from aftrans_jax.experiment.trained import load_trained


def main() -> None:
    """Prints the likeliest classes of each image by the global branch, which needs no crop."""
    parser = argparse.ArgumentParser(description="Names images with a trained model.")
    parser.add_argument("images", nargs="+", type=Path, help="image files")
    parser.add_argument("--workdir", required=True, type=Path, help="of a training run")
    parser.add_argument("--top", type=int, default=5, help="how many classes to print")
    args = parser.parse_args()
    try:
        trained = load_trained(args.workdir)
        unboxed = np.full(4, np.nan, np.float32)
        images = [
            test_transform(Example(decode_image(path), 0, unboxed), **trained.sizes).image
            for path in args.images
        ]
    except (OSError, ValueError) as error:
        parser.exit(1, f"error: {error}\n")

    @jax.jit
    def predict(params: dict, image: jax.Array) -> jax.Array:
        logits = cast(jax.Array, trained.model.apply(params, image, method="predict"))
        return jax.nn.softmax(logits[0])

    for path, image in zip(args.images, images, strict=True):
        probabilities = np.asarray(predict({"params": trained.params}, jnp.asarray(image[None])))
        for label in probabilities.argsort()[::-1][: args.top]:
            print(f"{path}\t{probabilities[label]:.1%}\t{trained.class_names[label]}")


if __name__ == "__main__":
    main()
