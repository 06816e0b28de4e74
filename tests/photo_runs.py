"""Runs of seconds on folders of coloured photos, started and evaluated by the command."""

import json
import sys
from pathlib import Path
from unittest import mock

from absl import flags
from absl.testing import flagsaver
from experiments import tiny_config, tiny_variants
from PIL import Image

from aftrans_jax import main


def plant(root: Path, *paths: str, first: int = 100) -> Path:
    """Images of which each has a colour of its own; trained are those from 0 on."""
    for number, path in enumerate(paths, first):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (number, 90, 5 * number)).save(root / path)
    return root


def call(*arguments: str) -> None:
    argv = ["main", *arguments]
    with flagsaver.flagsaver(), tiny_variants(), mock.patch.object(sys, "argv", argv):
        flags.FLAGS.unparse_flags()
        main.main(main.parse_flags(argv))


def train(workdir: Path, data: Path) -> Path:
    """A run of the model that compiles soonest."""
    settings = tiny_config(
        data__name="folder", data__dir=str(data), train__steps=2, model__name="vit"
    ).to_dict()
    config = workdir.with_suffix(".py")
    config.write_text(
        f"from ml_collections import ConfigDict\nget_config = lambda: ConfigDict({settings})"
    )
    call(f"--config={config}", f"--workdir={workdir}")
    return workdir


def evaluate(workdir: Path, data: Path | None = None, *arguments: str) -> dict:
    """The scores of the set, by default of the run's own, under the name that its file has."""
    before = set(workdir.glob("eval-*.json"))
    given = [f"--config.data.dir={data}"] if data else []
    call("--mode=eval", f"--workdir={workdir}", *given, *arguments)
    (written,) = set(workdir.glob("eval-*.json")) - before
    found = json.loads(written.read_text())
    written.unlink()
    return found
