"""Processes of one run that would train something else get an error, in every process."""

import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from compilation import on_devices
from experiments import tiny_config
from PIL import Image
from places import ROOT

from aftrans_jax.data.sets.synthetic import synthetic_dataset
from aftrans_jax.experiment.agreement import check_agreement
from benchmarks.claims.scaling import free_port

# Process 0 reads one folder, process 1 reads each in turn.
PROCESS = """
import sys
import jax
address, process, *folders = sys.argv[1:]
jax.distributed.initialize(address, 2, int(process))
from experiments import tiny_experiment
for changes in (
    {"data__dir": folders[1], "data__num_threads": 2, "data__cache": "ram"},
    {"data__dir": folders[2]},
    {"data__dir": folders[3]},
    {"train__save_every": 5},
):
    # Steps follow from the number of images, which process 1 has fewer of in folder 3.
    by_data = {"train__steps": 0, "train__epochs": 2.0, "train__warmup_steps": -1}
    given = by_data | {"data__name": "folder", "data__dir": folders[0], "model__name": "vit"}
    try:
        tiny_experiment(**(given | (changes if process == "1" else {})))
        print("built")
    except ValueError as error:
        print(error)
"""


def test_two_processes_say_what_differs(tmp_path):
    for split in ("train", "test"):
        for name in ("wren", "gull"):
            (folder := tmp_path / "0" / split / name).mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (32, 32)).save(folder / f"{number}.png")
    shutil.copytree(tmp_path / "0", tmp_path / "copy")
    shutil.copytree(tmp_path / "0", tmp_path / "stale")
    (tmp_path / "stale" / "train" / "wren" / "3.png").rename(tmp_path / "stale/train/gull/4.png")
    address = f"127.0.0.1:{free_port()}"
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT / 'tests'}{os.pathsep}{ROOT}",
        "XLA_FLAGS": on_devices(2),
    }
    shutil.copytree(tmp_path / "0", tmp_path / "fewer")
    for number in range(3):
        (tmp_path / "fewer" / "train" / "wren" / f"{number}.png").unlink()
    folders = [str(tmp_path / name) for name in ("0", "copy", "stale", "fewer")]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, address, str(number), *folders],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for said, errors in outputs:
        lines = [line.partition(":")[0] for line in said.splitlines() if "[Gloo]" not in line]
        assert lines == [
            "built",
            "process 1 has other lists of images than process 0",
            "process 1 has other lists of images than process 0",
            "process 1 has other settings than process 0",
        ], errors


NO_WEIGHTS = np.zeros(3, np.float32)


def check(**changes):
    settings = tiny_config(**changes).to_dict()
    dataset = synthetic_dataset(num_train=4, num_test=2, image_size=16)
    check_agreement(settings, dataset, {"vit": {"cls": NO_WEIGHTS}})


@pytest.mark.parametrize(
    ("column", "what"), [(0, "lists of images"), (1, "settings"), (2, "weights to start from")]
)
def test_what_differs_is_named_with_the_process(monkeypatch, column, what):
    def gathered(own):
        everyone = np.stack([own] * 4)
        everyone[2, column] += 1
        return everyone

    check()  # alone it asks nobody
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    monkeypatch.setattr("jax.experimental.multihost_utils.process_allgather", gathered)
    with pytest.raises(ValueError, match=f"^process 2 has other {what} than process 0: give"):
        check()


def test_places_and_threads_may_be_each_host_s_own(monkeypatch):
    asked = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(
        "jax.experimental.multihost_utils.process_allgather",
        lambda own: asked.append(own.tolist()) or np.stack([own, own]),
    )
    check()
    check(data__dir="/elsewhere", pretrained="/w/x.npz", data__num_threads=3, data__cache="ram")
    check(seed=1)
    assert asked[0] == asked[1]
    assert [one == other for one, other in zip(asked[0], asked[2], strict=True)] == [1, 0, 1]


@pytest.mark.parametrize(
    ("other", "column"),
    [
        ({"num_test": 3}, 0),
        ({"names": ("b", "a")}, 0),
        ({"cls": np.array([0, 0, 1e-7], np.float32)}, 2),
        ({"cls": np.zeros((1, 3), np.float32)}, 2),
    ],
    ids=["sizes", "order of classes", "weights", "shape"],
)
def test_sets_without_lists_and_weights_are_told_apart(monkeypatch, other, column):
    """Generated sets and numbered records have no lists of images."""
    asked = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(
        "jax.experimental.multihost_utils.process_allgather",
        lambda own: asked.append(own.tolist()) or np.stack([own, own]),
    )

    def ask(num_test=2, names=("a", "b"), cls=NO_WEIGHTS):
        dataset = synthetic_dataset(num_train=4, num_test=num_test, image_size=16)
        settings = tiny_config().to_dict()
        check_agreement(settings, dataset._replace(class_names=names), {"vit": {"cls": cls}})

    ask()
    ask(**other)
    differing = [one != two for one, two in zip(*asked, strict=True)]
    assert differing == [number == column for number in range(3)]
