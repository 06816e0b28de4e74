"""The hosted notebook is run as a person would: forms filled in, every cell, and some again.

It takes a minute, so no suite collects it: launch/test_versions.sh runs it.
"""

import copy
import re
import zipfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image
from places import ROOT, TINY_PATH

from aftrans_jax.data.sets.synthetic import draw_bird

NOTEBOOK = ROOT / "launch" / "aftrans_colab.ipynb"
SMALL = (
    "--config.pretrained= --config.model.variant=mini8 --config.model.stride=8 "
    "--config.data.image_size=32 --config.data.source_size=32 --config.data.local_size=24 "
    "--config.region.min_box=8 --config.train.batch_size=8 --config.train.report_every=1 "
    "--config.train.warmup_steps=1 --config.eval.batch_size=8 --config.report.num_images=2"
)
BIRDS = "--config.model.name=vit --config.data.num_train=16 --config.data.num_test=8"
PHOTOS = (  # what is quickly compiled
    "--config.region.method=centred --config.region.resample=bilinear "
    "--config.data.validation_fraction=0 --config.report.tensorboard=False"
)
FORMS = {
    "STEPS": 2,
    "TENSORBOARD": False,
    "OPTIONS": f"{SMALL} {BIRDS}",
    "SHOW_TENSORBOARD": False,
    "PHOTOS": "my photos.zip",
    "WEIGHTS": "",
    "EPOCHS": 1,
    "OPTIONS2": f"{SMALL} {PHOTOS}",
    "DOWNLOAD": True,
}
AGAIN = ("install", "keep", "tools", "birds", "report", "curves", "photos")


def fill_in(notebook: nbformat.NotebookNode, forms: dict[str, object]) -> None:
    """Sets the values of forms, each of which is there once."""
    left = dict(forms)
    for cell in notebook.cells:
        for name in list(left):
            line = re.compile(rf"^{name} = .*?(?=  # @param)", re.M)
            if line.search(cell.source):
                cell.source = line.sub(
                    lambda _, name=name: f"{name} = {left.pop(name)!r}", cell.source
                )
    assert not left


def printed(cell: nbformat.NotebookNode) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def shown(cell: nbformat.NotebookNode, kind: str) -> list[str]:
    return [output.data[kind] for output in cell.outputs if kind in output.get("data", {})]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder with a zip of photos, and an environment without network or accelerator."""
    with zipfile.ZipFile(tmp_path / "my photos.zip", "w") as archive:
        for number in range(30):
            bird = draw_bird(0, number, size=48)
            path = tmp_path / f"{number}.png"
            Image.fromarray(bird.image).save(path)
            archive.write(path, f"photos/{'abc'[number % 3]} warbler/{number}.png")
            path.unlink()
        archive.writestr("__MACOSX/photos/._0.png", b"")
    monkeypatch.setenv("PYTHONPATH", TINY_PATH)
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    return tmp_path


def test_every_cell_runs_and_may_run_again(folder):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    fill_in(notebook, FORMS)
    first = {cell.id: cell for cell in notebook.cells}
    again = {name: copy.deepcopy(first[name]) for name in AGAIN}
    for name, cell in again.items():
        cell.id = f"{name}-again"
    notebook.cells = [*first.values(), *again.values()]
    context = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=context).execute()

    runs = folder / "aftrans_runs"
    assert "step 2: accuracy on 8 test images" in printed(first["birds"])
    assert "finished at step 2: nothing to train" in printed(again["birds"])
    assert re.search(r"accuracy on \d test images: global .* local .* sum", printed(first["train"]))
    assert len(shown(first["report"], "text/html")) == 1
    assert "srcdoc=" in shown(first["report"], "text/html")[0]
    assert len(shown(first["curves"], "image/png")) == 1
    assert "not shown" in printed(first["tensorboard"])
    assert re.search(r"photos/my photos_\d+_\d+/photos\n$", printed(first["photos"]))
    assert printed(again["photos"]) == printed(first["photos"])
    assert "No problems." in printed(first["check"])
    assert re.search(r"of \d test photos are answered", printed(first["pictures"]))
    assert len(shown(first["pictures"], "image/png")) == 1
    assert len(re.findall(r"\t.*%\t[abc] warbler$", printed(first["predict"]), re.M)) == 3
    assert (runs / "photos" / "result.json").exists()
    with zipfile.ZipFile(folder / "photos.zip") as archive:
        names = archive.namelist()
    assert "photos/result.json" in names
    assert not [name for name in names if "checkpoints" in name]
