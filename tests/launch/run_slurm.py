"""Slurm's launcher trains with two processes.

It takes half a minute, so no suite collects it: launch/test_versions.sh runs it.
"""

import subprocess

from places import ROOT, TINY_PATH
from slurm import job, outputs


def test_slurm_s_command_trains_with_two_processes(tmp_path):
    environment = job(
        tmp_path,
        PYTHONPATH=TINY_PATH,
        XLA_FLAGS="--xla_backend_optimization_level=0",
        JAX_COMPILATION_CACHE_DIR="",
    )
    settings = "pretrained= model.name=vit train.steps=2 train.warmup_steps=1 train.batch_size=4"
    settings += " data.num_train=8 data.num_test=4 eval.batch_size=4 report.num_images=0"
    options = [f"--config.{setting}" for setting in settings.split()]
    arguments = ["--config=configs/demo.py", f"--workdir={tmp_path / 'run'}", *options]
    command = ["bash", "launch/slurm.sh", *arguments]
    done = subprocess.run(command, env=environment, cwd=ROOT, check=False, timeout=240)
    first, second = outputs(tmp_path)
    assert done.returncode == 0, first + second
    assert "on 2 x cpu" in first
    assert "step 2: accuracy on 4 test images" in first
    assert "step" not in second
    assert (tmp_path / "run" / "result.json").exists()
