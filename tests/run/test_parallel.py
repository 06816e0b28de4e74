"""One device, four devices and two processes do the same; only gradients are exchanged."""

import json
import os
import re
import subprocess
import sys
import zlib

import jax
import numpy as np
import pytest
from compilation import on_devices
from experiments import NUM_TEST, fresh, train
from places import ROOT

from aftrans_jax.experiment.batches import processes_here
from aftrans_jax.workdir.predictions_csv import read_predictions
from benchmarks.claims.scaling import free_port
from benchmarks.harness.hlo import collectives, num_loops

TESTS = ROOT / "tests"
PROCESS = """
import sys
import jax
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
from pathlib import Path
from experiments import tiny_experiment, train
from aftrans_jax.experiment.batches import processes_here
from places import ROOT
print("processes here:", processes_here())
experiment = tiny_experiment()
train(experiment, Path(sys.argv[3]))
batches = experiment.train_batches(0)
for _ in range(3):  # an epoch
    shards = next(batches)["index"].addressable_shards
    print("shards", *(index for shard in shards for index in shard.data.tolist()))
"""


def three_steps(experiment):
    state, batches = experiment.state, experiment.train_batches(0)
    for _ in range(3):
        state, _ = experiment.train_step(state, next(batches))
    return state


def test_one_device_is_four_devices():
    one, four = fresh(num_devices=1), fresh(num_devices=4)
    assert (one.mesh.size, four.mesh.size) == (1, 4)
    start = jax.device_get(one.state.params)
    states = [three_steps(experiment) for experiment in (one, four)]
    params = [jax.device_get(state.params) for state in states]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *params)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), start, params[0])
    assert max(jax.tree.leaves(moved)) > 1e-3  # or equality would say nothing
    first, second = (
        e.evaluator.evaluate(state, "test") for e, state in zip((one, four), states, strict=True)
    )
    assert first.num_examples == second.num_examples == NUM_TEST
    assert first.scores == pytest.approx(second.scores, abs=1e-5)
    np.testing.assert_array_equal(first.outcomes["box"], second.outcomes["box"])
    shown = [3, NUM_TEST - 1]
    maps = [
        e.evaluator.relevance(state, shown) for e, state in zip((one, four), states, strict=True)
    ]
    assert maps[0].shape == (2, 4, 4)
    np.testing.assert_allclose(*maps, atol=1e-5)


def test_only_gradients_and_metrics_cross_devices():
    experiment = fresh()
    batch = next(experiment.train_batches(0))
    hlo = experiment.train_step.lower(experiment.state, batch).compile().as_text()
    assert num_loops(hlo)  # the labelling is one
    found = collectives(hlo)
    assert not [exchange for exchange in found if exchange.in_loop]
    assert {exchange.kind for exchange in found} == {"all-reduce"}
    sizes = [size for exchange in found for size in exchange.sizes]
    num_params = sum(leaf.size for leaf in jax.tree.leaves(experiment.state.params))
    assert num_params <= sum(sizes) <= num_params + 10  # and what is averaged
    largest = max(leaf.size for leaf in jax.tree.leaves(experiment.state.params))
    assert max(sizes) <= largest  # no images, no activations


def test_processes_of_other_hosts_are_not_counted(monkeypatch):
    names = ["a", "b", "a", "c", "a"]
    sums = np.array([zlib.crc32(name.encode()) for name in names], np.uint32)
    assert processes_here() == 1
    monkeypatch.setattr(jax, "process_count", lambda: len(names))
    monkeypatch.setattr("jax.experimental.multihost_utils.process_allgather", lambda own: sums)
    for name, number in (("a", 3), ("b", 1)):
        monkeypatch.setattr("socket.gethostname", lambda name=name: name)
        assert processes_here() == number


def test_two_processes_are_one(tmp_path):
    address, together = f"127.0.0.1:{free_port()}", tmp_path / "two"
    environment = os.environ | {
        "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}",
        "XLA_FLAGS": on_devices(2),
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),  # this process writes its own
    }
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, address, str(index), str(together)],
            env=environment,
            **pipes,
        )
        for index in range(2)
    ]
    try:
        alone = train(fresh(), tmp_path / "one")
        outputs = [process.communicate(timeout=240)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    assert "on 4 x cpu" in outputs[0]
    assert all("processes here: 2" in output for output in outputs)
    assert "step" not in outputs[1]  # only the first process speaks
    lines = [re.findall(r"^shards (.*)$", output, re.M) for output in outputs]
    read = [[int(index) for line in own for index in line.split()] for own in lines]
    assert [len(own) for own in read] == [12, 12]
    assert sorted(read[0] + read[1]) == list(range(24))

    result = json.loads((together / "result.json").read_text())
    assert result["num_test"] == alone["num_test"] == NUM_TEST
    scores = [key for key in alone if key.endswith(("_accuracy", "_loss", "_mean"))]
    assert len(scores) >= 8
    for key in scores:
        assert result[key] == pytest.approx(alone[key], abs=1e-5), key
    two, one = (
        read_predictions(workdir / "predictions.csv") for workdir in (together, tmp_path / "one")
    )
    assert len(set(two.names)) == len(two.names) == NUM_TEST
    assert two[:3] == one[:3]
    logs = [
        [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        for workdir in (together, tmp_path / "one")
    ]
    assert [log["step"] for log in logs[0]] == [1, 2, 3, 4, 5, 6, 6]
    for two, one in zip(*logs, strict=True):
        if one["split"] == "train":
            assert two["loss"] == pytest.approx(one["loss"], abs=1e-5)
