"""Products that no device rounds to TF32 or bfloat16 first: read from programs, CPUs never do."""

import jax
import jax.numpy as jnp
import pytest

from aftrans_jax.model.crops import crop_and_resize, resample_relevance
from aftrans_jax.model.geometry import Geometry
from aftrans_jax.model.rams import mean_row_of_rollout
from aftrans_jax.model.resize import shrink
from aftrans_jax.model.rollout import Projections
from aftrans_jax.model.sacm import SACM, relevance
from aftrans_jax.model.transfg import class_row_of_product
from aftrans_jax.training.losses import contrastive

BOXES = jnp.array([[0, 0, 8, 8]] * 2)
LAYER = Projections(*jnp.ones((2, 2, 9, 3, 4)))
NUM_LAYERS = 3
KERNELS = {"squeeze": {"kernel": jnp.ones((9, 3))}, "excite": {"kernel": jnp.ones((3, 9))}}


@pytest.mark.parametrize(
    ("function", "shape", "others"),
    [
        (lambda x: shrink(x, 4), (2, 8, 8, 3), 0),
        (lambda x: crop_and_resize(x, BOXES, 4), (2, 8, 8, 3), 0),
        (lambda x: resample_relevance(x, BOXES, Geometry(8, 4, 2)), (2, 9, 9), 0),
        (
            lambda x: SACM(3, "mean").apply({"params": KERNELS}, x[:, :, None], x[:, :, 0]),
            (2, 9, 4),
            0,
        ),
        (lambda x: relevance(x[:, :, 0], x), (2, 3, 9), 0),
        (lambda x: contrastive(x, jnp.zeros(2, jnp.int32), jnp.ones(2, bool)), (2, 9), 0),
        # Beside the scores of the maps.
        (lambda x: mean_row_of_rollout([LAYER] * NUM_LAYERS) + x, (2, 9), NUM_LAYERS),
        (lambda x: class_row_of_product([LAYER] * NUM_LAYERS) + x, (2, 3, 9), NUM_LAYERS),
    ],
)
def test_float32_is_multiplied_as_float32(function, shape, others):
    program = jax.jit(function).lower(jnp.ones(shape)).as_text()
    exact = program.count("precision = [HIGHEST, HIGHEST]")
    assert exact == program.count("stablehlo.dot_general") - others > 0
