"""Models that are applied without jit: what their first calls compiled serves all others."""

import jax
import pytest
import tiny

from aftrans_jax.model.aftrans import AFTrans
from aftrans_jax.model.rams import RAMS

VIT = tiny.tiny_vit().clone(variant=tiny.VARIANT._replace(layers=2))
MODELS = {
    "aftrans": AFTrans(VIT, tiny.LOCAL_SIZE, keep_ratio=0.3, reduction=2, min_box=5),
    "rams": RAMS(VIT, tiny.LOCAL_SIZE, min_box=5),
}


@pytest.mark.parametrize("name", MODELS)
def test_later_calls_compile_nothing(rng, caplog, name):
    """But the second: where a block was traced, Flax takes the next branch's for another one."""
    model, images = MODELS[name], tiny.random_images(rng)
    params = tiny.random_params(model, rng, images)
    compiled = []
    for _ in range(3):
        caplog.clear()
        with jax.log_compiles():
            model.apply({"params": params}, images, train=False)
        said = (record.getMessage().split() for record in caplog.records)
        compiled.append([words[1] for words in said if words[0] == "Compiling"])
    first, second, third = compiled
    assert "jit(core_fn)" in first  # Flax's name of a block
    assert set(second) <= {"jit(core_fn)"}
    assert third == []
