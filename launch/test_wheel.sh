#!/usr/bin/env bash
# Builds wheel and sdist, checks what is in them, installs the wheel into a fresh environment, and
# runs the commands from an empty folder. Arguments go to pytest, which then runs there as well, with
# the packages of requirements-dev.txt: `bash launch/test_wheel.sh tests -n 2`.
# PYTHON=python3.13 takes another interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
checkout=$PWD work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset PYTHONPATH

say() { printf '\n== %s\n' "$*"; }
new_env() { # NAME PACKAGE...: an environment that goes with this script
  "${PYTHON:-python3}" -m venv "$work/$1"
  "$work/$1/bin/python" -m pip install --quiet --disable-pip-version-check "${@:2}"
}

say "wheel and sdist"
mkdir "$work/source" "$work/empty"
cp -r aftrans_jax configs pyproject.toml MANIFEST.in README.md LICENSE "$work/source"
new_env build build
for options in "--outdir $work/dist" "--wheel --outdir $work/direct"; do
  # shellcheck disable=SC2086 # two words or three
  "$work/build/bin/python" -m build $options "$work/source" >"$work/log" 2>&1 || {
    cat "$work/log"
    exit 1
  }
done
"$work/build/bin/python" - "$work" <<'PYTHON'
import sys
import zipfile
from pathlib import Path

work = Path(sys.argv[1])
source = work / "source"
paths = (source / "configs").rglob("*.py")
expected = {f"aftrans_jax/{path.relative_to(source).as_posix()}" for path in paths}
for pattern in ("*.py", "py.typed", "assets/*.npz", "report/templates/*"):
    paths = (source / "aftrans_jax").rglob(pattern)
    expected |= {path.relative_to(source).as_posix() for path in paths}
for folder in ("dist", "direct"):  # built from the sdist, and from the checkout
    (wheel,) = (work / folder).glob("*.whl")
    archive = zipfile.ZipFile(wheel)
    names = {name for name in archive.namelist() if ".dist-info/" not in name}
    if names != expected:
        sys.exit(f"{folder}/{wheel.name}: {sorted(names ^ expected)} are missing or surplus")
    face = archive.read("aftrans_jax/configs/__init__.py")
    assert face == (source / "configs" / "__init__.py").read_bytes()  # not the checkout's
    print(f"{wheel.name}: {len(names)} files, {wheel.stat().st_size / 1e6:.1f} MB")
PYTHON

say "the wheel in an empty folder"
new_env env "$work"/dist/*.whl
export PATH=$work/env/bin:$PATH
cd "$work/empty"
python - "$work"/dist/*.whl <<'PYTHON'
import importlib.metadata
import sys
from pathlib import Path

from PIL import Image

import aftrans_jax
from aftrans_jax.data.sets.synthetic import draw_bird

assert aftrans_jax.__version__ == importlib.metadata.version("aftrans-jax")
assert f"-{aftrans_jax.__version__}-" in Path(sys.argv[1]).name
assert Path(aftrans_jax.__file__).is_relative_to(sys.prefix), aftrans_jax.__file__
Image.fromarray(draw_bird(1, 0, size=64).image).save("bird.png")
PYTHON
python -m aftrans_jax.main --config=configs/demo.py --workdir=run --config.train.steps=5 \
  --config.train.warmup_steps=1 --config.data.num_test=100
python -m aftrans_jax.check_data --config=configs/demo.py
python -m aftrans_jax.predict --workdir=run bird.png
python -m aftrans_jax.export --workdir=run
for command in main check_data; do
  if python -m "aftrans_jax.$command" --config=configs/nosuch.py 2>error; then exit 1; fi
  [[ $(wc -l <error) == 1 ]] && grep "is no file: .*configs/cub.py" error
done

if (($#)); then
  say "the tests on the wheel: pytest $*"
  python -m pip install --quiet --disable-pip-version-check -r "$checkout/requirements-dev.txt"
  cp -r "$checkout"/{tests,benchmarks,launch,pyproject.toml,.pre-commit-config.yaml} .
  cp "$checkout"/requirements*.txt .
  # Those read files of the checkout that are not here.
  python -m pytest --ignore=tests/test_{conventions,snippets}.py \
    --ignore=tests/launch/test_{docs,launchers,notebook}.py "$@"
fi
say "the wheel is whole"
