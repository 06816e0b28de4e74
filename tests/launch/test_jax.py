"""The jax that launch/jax.sh chooses, with a fake `nvidia-smi` and fake device files."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[2] / "launch"
HEADERS = {
    "12": "| NVIDIA-SMI 550.54.14   Driver Version: 550.54.14   CUDA Version: 12.4     |",
    "13": "| NVIDIA-SMI 580.82.07   Driver Version: 580.82.07   CUDA Version: 13.0     |",
    "new": "| NVIDIA-SMI 595.45.04   KMD Version: 595.45.04   CUDA UMD Version: 13.2   |",
    "none": "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
}


@pytest.fixture
def choose(tmp_path):
    """Runs `choose_jax` where only the given `nvidia-smi` and device files exist."""
    (tmp_path / "bin").mkdir()
    for tool in ("bash", "sed"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))

    def run(*, gpu: str | None = None, files: tuple[str, ...] = (), override: str | None = None):
        if gpu:
            command = tmp_path / "bin" / "nvidia-smi"
            command.write_text(f'#!/bin/bash\necho "{HEADERS[gpu]}"\nexit {int(gpu == "none")}\n')
            command.chmod(0o755)
        for name in files:
            (tmp_path / "dev" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "dev" / name).touch()
        variables = {"PATH": str(tmp_path / "bin")}
        variables |= {} if override is None else {"AFTRANS_JAX": override}
        script = 'set -euo pipefail; source "$0/jax.sh"; chosen=$(choose_jax "$1"); echo "$chosen"'
        return subprocess.run(
            ["bash", "-c", script, LAUNCH, tmp_path / "dev"],
            capture_output=True,
            text=True,
            env=variables,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    ("gpu", "chosen"),
    [
        ("12", "cuda12 nvidia-smi reports CUDA 12.4"),
        ("13", "cuda13 nvidia-smi reports CUDA 13.0"),
        ("new", "cuda13 nvidia-smi reports CUDA 13.2"),
    ],
)
def test_a_gpu_s_driver_decides(choose, gpu, chosen):
    assert choose(gpu=gpu, files=("accel0",)).stdout == f"{chosen}\n"


@pytest.mark.parametrize("name", ["accel0", "vfio/0"])
def test_a_tpu_is_known_by_its_files(choose, tmp_path, name):
    assert choose(files=(name,)).stdout == f"tpu {tmp_path}/dev has the files of a TPU\n"


@pytest.mark.parametrize("name", ["null", "vfio/vfio", "accel/accel0"])
def test_other_device_files_are_no_tpu(choose, name):
    """Linux makes vfio/vfio for any virtual machine and accel/accel0 for Intel's NPUs."""
    assert choose(gpu="none", files=(name,)).stdout.startswith("cpu neither nvidia-smi nor ")


@pytest.mark.parametrize("kind", ["cpu", "cuda12", "cuda13", "tpu"])
def test_the_variable_overrides(choose, kind):
    assert choose(gpu="13", override=kind).stdout == f"{kind} AFTRANS_JAX={kind}\n"


def test_an_empty_variable_overrides_nothing(choose):
    assert choose(gpu="12", override="").stdout.startswith("cuda12 ")


def test_an_unknown_kind_is_refused(choose):
    done = choose(override="cuda11")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "AFTRANS_JAX=cuda11 is unknown: choose one of cpu, cuda12, cuda13, tpu\n"
    )


# --------------------------------------------------------- what launch/venv.sh then installs where

PYTHON = """#!/bin/bash
# `-c` tells the version, the prefix, or whether jax drives an accelerator; pip is written down.
case "$*" in
  *version_info*) exit 0 ;;
  *sys.prefix*) echo "$PREFIX" ;;
  *default_backend*) exit "$BACKEND_IS_CPU" ;;
  *pip*) echo "$*" >>"$PREFIX/pip.log" ;;
esac
"""


@pytest.fixture
def source(tmp_path):
    """Sources launch/venv.sh with a Python that installs nothing; returns what it said and did."""
    (tmp_path / "bin").mkdir()
    shutil.copytree(LAUNCH, tmp_path / "launch")
    for name in ("requirements.txt", "requirements-dev.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "bin" / "python").write_text(PYTHON)
    (tmp_path / "bin" / "nvidia-smi").write_text(f'#!/bin/bash\necho "{HEADERS["13"]}"\n')
    for command in (tmp_path / "bin").iterdir():
        command.chmod(0o755)

    def run(requirements="requirements.txt", *, drives: bool, prefix: str = "env", **variables):
        (tmp_path / prefix).mkdir(exist_ok=True)
        settings = {key: value for key, value in os.environ.items() if key != "AFTRANS_JAX"}
        settings |= {"PATH": f"{tmp_path / 'bin'}:{settings['PATH']}", "VIRTUAL_ENV": "active"}
        settings |= {"PREFIX": str(tmp_path / prefix), "BACKEND_IS_CPU": str(int(not drives))}
        done = subprocess.run(
            ["bash", "-c", f"set -euo pipefail; source launch/venv.sh {requirements}"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=settings | variables,
            check=False,
        )
        log = tmp_path / prefix / "pip.log"
        pip = log.read_text().splitlines() if log.exists() else []
        return done, [line.rpartition("--no-compile ")[2] for line in pip]

    return run


def test_the_gpu_s_jax_is_installed_once_and_must_find_it(source):
    done, pip = source(drives=True, prefix=".venv")
    assert (done.returncode, pip) == (0, ["-r requirements.txt jax[cuda13]"])
    assert "jax for cuda13: nvidia-smi reports CUDA 13.0\n" in done.stdout
    again, pip = source(drives=True, prefix=".venv")
    assert (again.stdout, len(pip)) == ("jax for cuda13: nvidia-smi reports CUDA 13.0\n", 1)


def test_a_gpu_that_its_jax_does_not_find_is_an_error(source):
    done, pip = source(drives=False)
    assert (done.returncode, pip) == (1, ["-r requirements.txt jax[cuda13]"])
    assert "finds no GPU or TPU" in done.stderr
    done, _ = source(drives=False, AFTRANS_JAX="cpu")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_jax_that_drives_the_gpu_already_stays(source):
    done, pip = source(drives=True)
    assert (done.returncode, pip) == (0, ["-e ."])
    assert "nothing is replaced" in done.stdout


def test_tests_run_on_the_cpu_and_replace_no_jax_that_drives_a_gpu(source):
    done, pip = source("requirements-dev.txt", drives=True)
    assert (done.returncode, pip) == (1, [])
    assert "requirements-dev.txt would replace the jax in " in done.stderr
    done, pip = source("requirements-dev.txt", drives=False)
    assert (done.returncode, pip) == (0, ["-r requirements-dev.txt"])
    assert done.stdout.startswith("jax for cpu: all that requirements-dev.txt is for runs on it\n")
