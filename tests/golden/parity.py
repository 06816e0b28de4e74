"""Prints how far features and logits are from what timm, Meta and Hugging Face compute, by family.

    python tests/golden/make_trunks.py --real --out=/tmp/trunks   # in an environment with PyTorch
    python -m tests.golden.parity /tmp/trunks                     # in this one

Without a folder it is tests/golden/trunks.zip. Exits with 1 where something is further than 1e-4.
`bash launch/test_versions.sh trunks` does both in an environment of its own.
"""

import sys
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from aftrans_jax.model.vit import ViT
from aftrans_jax.weights.arrays import to_float32
from aftrans_jax.weights.fitting import fit_to_model, sizes
from aftrans_jax.weights.reading import Weights, open_weights

GOLDEN = Path(__file__).with_name("trunks.zip")
FURTHEST = 1e-4


@cache  # families of the same sizes share a compiled program
def computed(vit: ViT) -> Callable:
    """Returns a function of parameters and images that is compiled once."""

    def run(params, images):
        features = vit.apply({"params": params}, images, train=False, method=ViT.features)
        return features, vit.apply({"params": params}, features, method=ViT.classify)

    return jax.jit(run)


def outputs(weights: Weights, images: np.ndarray, num_classes: int) -> dict[str, np.ndarray]:
    """Returns features and logits as our trunk computes them of weights."""
    found, origin = sizes(weights.arrays), weights.origin
    assert found is not None
    side = images.shape[1]
    pixels = (tuple(origin.mean), tuple(origin.std))
    vit = ViT(found, num_classes, side, found.patch_size, origin.gelu, *pixels)
    arrays = to_float32(weights.arrays)
    expected = jax.eval_shape(lambda: vit.init(jax.random.key(0), images, train=False))["params"]
    has_head = "head/bias" in arrays
    params = fit_to_model(arrays, expected, keep_head=has_head).params
    if not has_head:
        params["head"] = jax.tree.map(lambda x: jnp.zeros(x.shape), expected["head"])
    features, logits = computed(vit)(params, images)
    return {"features": np.asarray(features)} | ({"logits": np.asarray(logits)} if has_head else {})


def differences(folder: Path) -> dict[str, dict[str, float]]:
    """Returns the greatest absolute difference of each output, by family."""
    with np.load(folder / "images.npz") as golden:
        images = golden["images"]
    found = {}
    for family in sorted(path for path in folder.iterdir() if path.is_dir()):
        with np.load(family / "expected.npz") as golden:
            expected = dict(golden)
        classes = expected["logits"].shape[1] if "logits" in expected else 1
        with open_weights(str(family)) as weights:
            ours = outputs(weights, images, classes)
        assert ours.keys() == expected.keys(), family.name
        far = {name: float(np.abs(ours[name] - expected[name]).max()) for name in ours}
        found[family.name] = far | {"scale": float(np.abs(expected["features"]).max())}
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        if len(sys.argv) == 1:
            zipfile.ZipFile(GOLDEN).extractall(folder)
        rows = differences(Path(sys.argv[1] if len(sys.argv) > 1 else folder))
    print("| family | features | logits | largest feature |\n|---|---|---|---|")
    for family, row in rows.items():
        logits = f"{row['logits']:.1e}" if "logits" in row else ""
        print(f"| {family} | {row['features']:.1e} | {logits} | {row['scale']:.1f} |")
    furthest = np.max([row[name] for row in rows.values() for name in row if name != "scale"])
    if not furthest <= FURTHEST:  # NaN is not, either
        sys.exit(f"FAILED: {furthest:.1e} is further than {FURTHEST:.0e}")
    print(f"{len(rows)} families passed: at most {furthest:.1e} in features and logits")


if __name__ == "__main__":
    main()
