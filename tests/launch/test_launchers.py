"""The launchers' commands: what they print, and Slurm's run by two processes."""

import functools
import math
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from places import ROOT
from slurm import job, outputs

from aftrans_jax import flags, get_config, main
from aftrans_jax.experiment import checks
from aftrans_jax.experiment.auto_settings import resolve_auto

LAUNCH = ROOT / "launch"
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), *(ROOT / "benchmarks").glob("*.sh"), ROOT / ".ci" / "run"])
KUBERNETES = "1.37"  # the newest schemas that kubernetes-validate has


def tool(name: str) -> str:
    """The program of a Python package, beside the interpreter."""
    return str(Path(sys.executable).with_name(name))


run = functools.partial(subprocess.run, capture_output=True, text=True, cwd=ROOT, check=False)


def test_scripts_pass_shellcheck():
    done = run([tool("shellcheck"), *map(str, SCRIPTS)])
    assert (done.returncode, done.stdout) == (0, "")


def test_the_dockerfile_passes_its_linter(tmp_path):
    lint = [tool("tally"), "lint", "--slow-checks=off", "--fail-level=warning"]
    done = run([*lint, "launch/Dockerfile"])
    assert done.returncode == 0, done.stdout
    broken = tmp_path / "Dockerfile"
    broken.write_text("FROM python:3.12-slim\nCOPPY a b\n")
    assert run([*lint, str(broken)]).returncode


def test_the_dockerfile_copies_what_there_is():
    lines = (LAUNCH / "Dockerfile").read_text().splitlines()
    copied = [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]
    assert len(copied) >= 7
    assert all((ROOT / name).exists() for name in copied)
    assert 'ENTRYPOINT ["python", "-m", "aftrans_jax.main"]' in lines


# ----------------------------------------------------------------------------- Kubernetes


@functools.cache
def manifests() -> dict[str, dict]:
    text = (LAUNCH / "gke.yaml").read_text()
    return {manifest["kind"]: manifest for manifest in yaml.safe_load_all(text)}


@pytest.mark.parametrize("kind", ["Service", "Job"])
def test_the_manifest_is_kubernetes(kind):
    kubernetes_validate.validate(manifests()[kind], KUBERNETES, strict=True)


def test_the_schema_can_fail():
    wrong = manifests()["Job"] | {"spec": manifests()["Job"]["spec"] | {"completion": 4}}
    with pytest.raises(kubernetes_validate.ValidationError, match="completion"):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


def test_the_pods_of_the_job_are_the_hosts_of_the_slice():
    service, job = manifests()["Service"], manifests()["Job"]
    pod = job["spec"]["template"]["spec"]
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    rows, cols = map(int, pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x"))
    (container,) = pod["containers"]
    chips = container["resources"]["limits"]["google.com/tpu"]
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == rows * cols // chips


def known_flags(arguments: list[str]) -> bool:
    """Whether main takes the flags; the folders that they name are not looked for."""
    names = [argument.removeprefix("--").partition("=")[0] for argument in arguments]
    own = {"distributed", "config", "workdir", "coordinator", "num_processes", "process_id"}
    assert all(hasattr(main, f"_{name.upper()}") for name in own - {"config"})
    keys = [name.removeprefix("config.") for name in names if name.startswith("config.")]
    flags._check_keys(["main", *(f"--config.{key}=" for key in keys)])
    return {name for name in names if not name.startswith("config.")} <= own


def test_the_job_gives_flags_that_there_are():
    (container,) = manifests()["Job"]["spec"]["template"]["spec"]["containers"]
    assert "--distributed" in container["args"]
    assert known_flags(container["args"])


def check_trains(arguments: list[str], num_devices: int) -> None:
    """Fails where a run by these arguments would be refused on so many devices."""
    given = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
    config = get_config(Path(given["config"]).stem)
    config.pretrained = ""  # it would be downloaded
    if batch_size := given.get("config.train.batch_size"):
        config.train.batch_size = int(batch_size)
    checks.check(resolve_auto(config)[0], num_devices=num_devices)


def shown(text: str, command: str) -> list[str]:
    """The flags of main in the first call of a command that a script's own text shows."""
    (first, *_) = re.findall(rf"{command} .*--config=(?:.*\\\n)*.*", text)
    return [word for word in first.split() if word.startswith("--") and "=" in word]


def test_the_shown_commands_train_on_the_devices_that_are_shown():
    pod = manifests()["Job"]["spec"]["template"]["spec"]
    chips = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x")
    (container,) = pod["containers"]
    arguments = [argument for argument in container["args"] if "=" in argument]
    check_trains(arguments, math.prod(map(int, chips)))

    slurm = (LAUNCH / "slurm.sh").read_text()
    nodes, gpus = re.findall(r"^#SBATCH --(?:nodes|gpus-per-node)=(\d+)$", slurm, re.M)
    check_trains(shown(slurm, "sbatch launch/slurm.sh"), int(nodes) * int(gpus))

    vm = (LAUNCH / "tpu_vm.sh").read_text()
    (chips,) = re.findall(r"--accelerator-type=v5litepod-(\d+)", vm)
    check_trains(shown(vm, "bash launch/tpu_vm.sh NAME ZONE"), int(chips))


def test_a_batch_that_cannot_be_split_is_refused():
    with pytest.raises(ValueError, match="cannot be split over 16 devices"):
        check_trains(["--config=configs/cub.py"], 16)


# ------------------------------------------------------------------------- Slurm, TPU VMs


ARGUMENTS = ["--config=configs/cub.py", "--workdir=/shared/my runs", "--config.seed=1"]


def test_slurm_s_command_is_printed():
    done = run(["bash", "launch/slurm.sh", "--dry-run", *ARGUMENTS])
    command = ["srun", "--kill-on-bad-exit=1", "python", "-m", "aftrans_jax.main", "--distributed"]
    assert (done.returncode, shlex.split(done.stdout)) == (0, [*command, *ARGUMENTS])


def test_slurm_s_script_says_where_it_belongs():
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
    done = run(["bash", "launch/slurm.sh", *ARGUMENTS], env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("this is no Slurm job: sbatch launch/slurm.sh")


def test_tpu_vm_s_commands_are_printed():
    done = run(["bash", "launch/tpu_vm.sh", "--dry-run", "birds", "europe-west4-b", *ARGUMENTS])
    assert (done.returncode, done.stderr) == (0, "")
    words = shlex.split(done.stdout)
    assert words[0] == "tar"
    files = words[words.index("--exclude=__pycache__") + 1 : words.index("gcloud")]
    assert len(files) >= 7
    assert all((ROOT / name).exists() for name in files)
    assert words.count("gcloud") == words.count("--worker=all") == 3
    train = words[-1].removeprefix("--command=")
    assert shlex.split(train.rpartition("&& ")[2]) == [
        *("python", "-m", "aftrans_jax.main", "--distributed"),
        *ARGUMENTS,
    ]


@pytest.mark.parametrize("arguments", [[], ["birds"], ["--config=configs/cub.py"], ["--help"]])
def test_tpu_vm_s_script_explains_itself(arguments):
    done = run(["bash", "launch/tpu_vm.sh", *arguments])
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: bash launch/tpu_vm.sh [--dry-run] NAME ZONE" in done.stderr


# In the place of Python: says who the launched command finds itself to be.
PYTHON = """#!/usr/bin/env bash
exec {python} -c '
import sys, jax
jax.distributed.initialize(heartbeat_timeout_seconds=20)
print(jax.process_index(), "of", jax.process_count(), *sys.argv[1:])' "$@"
"""


def test_the_processes_of_slurm_s_command_find_each_other(tmp_path):
    """run_slurm.py trains with them."""
    environment = job(tmp_path)
    (tmp_path / "python").write_text(PYTHON.format(python=shlex.quote(sys.executable)))
    (tmp_path / "python").chmod(0o755)
    done = run(["bash", "launch/slurm.sh", *ARGUMENTS], env=environment, timeout=120)
    said = outputs(tmp_path)
    assert done.returncode == 0, said
    arguments = " ".join(["-m aftrans_jax.main --distributed", *ARGUMENTS])
    for number, text in enumerate(said):
        assert text.splitlines()[-1] == f"{number} of 2 {arguments}"
