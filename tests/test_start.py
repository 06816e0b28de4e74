"""What imports bring: packages before a command's first output, and modules with the trunk."""

import subprocess
import sys

import pytest
from places import ROOT

from aftrans_jax import predict
from aftrans_jax.inference.prediction_table import FORMATS

SLOW = {"jax", "flax", "optax", "orbax", "grain", "scipy", "clu", "cv2", "jinja2", "sklearn"}
SLOW |= {"tensorflow", "tensorflow_datasets", "tensorboard", "matplotlib", "pandas", "requests"}
FIRST_LINE = """
import os, runpy, sys

class Stdout:
    encoding = "utf-8"
    def write(self, text):
        if text.strip():
            found = sorted({slow} & set(name.partition(".")[0] for name in sys.modules))
            line = text.strip().splitlines()[0]
            sys.stderr.write(f"first line: {{line}} {{len(sys.modules)}} {{found}}")
            sys.stderr.flush()
            os._exit(0)
    def flush(self):
        pass

if {module!r} != "aftrans_jax":
    sys.argv = {argv!r}
    sys.stdout = Stdout()
    runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
import aftrans_jax
Stdout().write("imported")
"""
COMMANDS = {
    "aftrans_jax": [],
    "aftrans_jax.main": ["--config=configs/demo.py"],  # the working directory is named by default
    **{
        f"aftrans_jax.{name}": ["--help"]
        for name in ("check_data", "predict", "explain", "export", "study", "compare")
    },
}


@pytest.mark.parametrize("module", COMMANDS)
def test_the_first_line_waits_for_no_slow_package(module, tmp_path):
    argv = [module, *COMMANDS[module]]
    code = FIRST_LINE.format(module=module, argv=argv, slow=SLOW)
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()[-1]
    assert said.startswith("first line: "), done.stderr
    assert said.endswith("[]"), said
    assert int(said.split()[-2]) < 600, said  # modules; jax alone brings a thousand


def test_the_tables_that_help_names_are_those_that_are_written():
    assert set(predict.TABLES) == set(FORMATS)


def test_the_trunk_imports_nothing_that_is_built_on_it():
    code = "import sys, aftrans_jax.model.vit; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    room = "aftrans_jax.model."
    found = {name.removeprefix(room) for name in done.stdout.split() if name.startswith(room)}
    assert {"vit", "encoder", "resize"} <= found
    assert not found & {"sacm", "regions", "components", "crops", "aftrans", "rams", "transfg"}
