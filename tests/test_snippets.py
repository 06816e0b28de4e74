"""Every Python snippet of README and the docs runs, in its order, in one folder for each file."""

import functools
import re
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from places import ROOT

from aftrans_jax import library
from aftrans_jax.experiment.auto_settings import resolve_auto
from aftrans_jax.experiment.checks import check
from aftrans_jax.experiment.data import read_lists
from aftrans_jax.model.variants import Variant
from aftrans_jax.model.vit import ViT
from aftrans_jax.weights.npz import save_npz

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TINY = Variant(patch_size=16, hidden=12, mlp=20, layers=2, heads=2)


def snippets(text: str) -> list[tuple[int, str]]:
    """Line and text of each fenced block of Python."""
    found = re.finditer(r"^```(?:python|py)\b[^\n]*\n(.*?)^```", text, re.M | re.S)
    return [(text[: match.start(1)].count("\n") + 1, match[1]) for match in found]


WITH_SNIPPETS = [page for page in PAGES if snippets(page.read_text(encoding="utf-8"))]


def trained(run, config, workdir, stop) -> None:
    """Leaves a run that is there: `trained_run` was trained by `aft.train` from its start."""
    resolved, _ = resolve_auto(config)
    check(resolved, num_devices=1)
    read_lists(config)  # the photos are there
    shutil.copytree(run, workdir)


@pytest.fixture
def folder(trained_run, photos, tmp_path, monkeypatch):
    """What the snippets name: a run, photos by class, and small weights in the place of DeiT's."""
    shutil.copytree(trained_run, tmp_path / "runs" / "cub")
    for number, path in enumerate(sorted(photos.rglob("*.png"))[:12]):
        place = tmp_path / "photos" / f"class{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.open(path).convert("RGB").save(place / f"{number}.jpg")
    shutil.copy(tmp_path / "photos" / "class0" / "0.jpg", tmp_path / "a.jpg")
    shutil.copy(tmp_path / "photos" / "class1" / "1.jpg", tmp_path / "b.jpg")
    known = {"mini8": Variant(8, 12, 20, 2, 2), "ti16": TINY}
    vit = ViT(TINY, 5, 32, 16, "exact", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    images = np.zeros((1, 32, 32, 3), np.uint8)
    init = jax.jit(functools.partial(vit.init, train=False))  # far cheaper than op by op
    params = init(jax.random.key(0), images)["params"]
    save_npz(tmp_path / "deit_tiny_patch16_224.npz", jax.device_get(params))
    for module in ("checks", "model", "auto_settings", "weights_checks"):
        monkeypatch.setattr(f"aftrans_jax.experiment.{module}.VARIANTS", known)
    monkeypatch.setattr(library, "launch_training", functools.partial(trained, trained_run))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", WITH_SNIPPETS, ids=lambda page: page.name)
def test_the_snippets_of_a_page_run(page, folder):
    names = {}
    for line, text in snippets(page.read_text(encoding="utf-8")):
        code = compile("\n" * (line - 1) + text, str(page), "exec")
        exec(code, names)


def test_there_are_snippets_and_all_are_found():
    assert ROOT / "README.md" in WITH_SNIPPETS
    assert snippets("a\n```python\nx = 1\ny\n```\n```bash\nls\n```\n```py\nz\n```\n") == [
        (3, "x = 1\ny\n"),
        (10, "z\n"),
    ]
