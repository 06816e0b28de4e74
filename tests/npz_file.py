"""The arrays of an npz file, as `pretrained` reads them before it looks at their names."""

from pathlib import Path

import numpy as np

from aftrans_jax.weights.arrays import naming, to_float32
from aftrans_jax.weights.formats import file_format
from aftrans_jax.weights.reading import READERS


def read_npz(path: Path) -> dict[str, np.ndarray]:
    with naming(path), READERS[file_format(path)](path) as stored:
        return to_float32(stored)
