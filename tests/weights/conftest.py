"""The tiny trunk's parameters and a file's content that fits them."""

import numpy as np
import pytest
from tiny import flat, param_shapes, tiny_vit


@pytest.fixture(scope="session")
def expected():
    """The shapes of the tiny trunk: 3 layers, 7 x 7 patches, 5 classes."""
    return param_shapes(tiny_vit())


@pytest.fixture
def arrays(expected, rng) -> dict[str, np.ndarray]:
    """A file's content that fits as it is."""
    shapes = flat(expected).items()
    return {name: rng.normal(size=leaf.shape).astype(np.float32) for name, leaf in shapes}
