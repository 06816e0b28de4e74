#!/usr/bin/env bash
# Runs the tests of model, training, weights and intervals, the hosted notebook, Slurm's launcher, a
# study that is killed three times, and a demo of five steps with the oldest packages that
# pyproject.toml admits, which are those of hosted notebooks, with the pinned ones, and with the newest
# of the registry; none has TensorFlow, TensorBoard or OpenCV. Then, with TensorFlow, prepares sets of
# tensorflow-datasets, which must be those in tests/golden/tfds.zip. Prints a table; exits with 1 where
# something failed.
#   bash launch/test_versions.sh [oldest] [pinned] [newest] [tfds] [trunks]
# The last, only where it is named: the newest with PyTorch, timm and transformers (5 GB), whose
# models of every family with random weights must give features and logits that ours give.
# PYTHON=python3.13 takes another interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(($#)) || set -- oldest pinned newest tfds
failed=0 table=()
tools_of_tests='pytest|filelock|hypothesis|beartype|nbformat'

bounds() { # the dependencies of pyproject.toml, one a line, all of them lower bounds
  "${PYTHON:-python3}" -c '
import tomllib
with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["project"]["dependencies"], sep="\n")'
}

install() { # STACK
  local packages tools
  mapfile -t tools < <(grep -oE "^($tools_of_tests)==[^ ]+" requirements-dev.txt)
  tools+=(-r launch/requirements-notebook.txt)
  case $1 in
    oldest) mapfile -t packages < <(bounds | sed 's/>=/==/') ;;
    pinned) mapfile -t packages < <(grep -oE '^[^# ]+' requirements.txt | grep -v opencv) ;;
    tfds) # clu's writers, which ours are compared with, import TensorBoard
      packages=(-r requirements-tfds.txt "$(grep -oE '^tensorboard==[^ ]+' requirements-dev.txt)") ;;
    newest | trunks) mapfile -t packages < <(bounds | sed 's/>=.*//') ;;
    *) echo "$1 is no stack: expected oldest, pinned, newest, tfds or trunks" >&2 && exit 2 ;;
  esac
  [[ $1 != trunks ]] || packages+=(torch timm transformers)
  "${PYTHON:-python3}" -m venv "$work/$1"
  "$work/$1/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade \
    "${packages[@]}" "${tools[@]}"
  [[ $1 == tfds ]] || "$work/$1/bin/python" -c '
from importlib.util import find_spec
assert not any(map(find_spec, ("tensorflow", "tensorboard", "cv2")))'
}

version() { # STACK PACKAGE
  "$work/$1/bin/python" -c 'import sys; from importlib.metadata import version
print(version(sys.argv[1]))' "$2"
}

tests() { # STACK
  local python="$work/$1/bin/python"
  if [[ $1 == trunks ]]; then
    "$python" tests/golden/make_trunks.py --real --out="$work/families" &&
      "$python" -m tests.golden.parity "$work/families"
  elif [[ $1 == tfds ]]; then
    "$python" -m pytest -p no:cacheprovider tests/data/sets/{run,test}_tfds.py
  else
    "$python" -m pytest -p no:cacheprovider tests/model tests/training tests/weights \
      tests/launch/run_notebook.py tests/launch/run_slurm.py tests/studies/{test_intervals,run_killed}.py
  fi
}

row() { # CELL...
  printf '%-8s %-8s %-8s %-8s %-8s %-8s %-34s %s' "$@"
}

for stack in "$@"; do
  echo "== $stack: installing"
  install "$stack"
  echo "== $stack: tests"
  tests "$stack" | tee "$work/$stack.log" || failed=1
  tests=$(grep -E '(passed|failed|error).* in ' "$work/$stack.log" | tail -1 | tr -d = || true)
  echo "== $stack: five steps of the demo"
  demo=passed
  "$work/$stack/bin/python" -m aftrans_jax.main --config=configs/demo.py \
    --workdir="$work/run-$stack" --config.train.steps=5 --config.train.warmup_steps=1 \
    --config.data.num_test=100 || demo=FAILED failed=1
  table+=("$(row "$stack" "$("$work/$stack/bin/python" -c 'import platform
print(platform.python_version())')" "$(version "$stack" jax)" "$(version "$stack" flax)" \
    "$(version "$stack" orbax-checkpoint)" "$(version "$stack" numpy)" "${tests:-FAILED}" "$demo")")
done

echo
row stack python jax flax orbax numpy tests demo && echo
printf '%s\n' "${table[@]}"
exit $failed
