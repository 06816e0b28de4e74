#!/usr/bin/env bash
# Shows that `pip install .` replaces nothing on a machine with the packages of a hosted TPU
# notebook, which are older than the pinned ones: compares `pip freeze` before and after.
# PYTHON=python3.13 takes another interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
hosted=(
  jax==0.7.2 jaxlib==0.7.2 flax==0.11.2 orbax-checkpoint==0.12.4 optax==0.2.5 grain==0.2.12
  numpy==2.1.3 scipy==1.15.3 pillow==11.3.0 ml_dtypes==0.5.3 etils==1.13.0
  absl-py==1.4.0 typing_extensions==4.15.0 packaging==25.0 protobuf==5.29.5 wrapt==1.17.3
  jinja2==3.1.6 tqdm==4.67.1 psutil==5.9.5 PyYAML==6.0.2 rich==13.9.4
)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
export PATH=$work/env/bin:$PATH
install() { python -m pip install --quiet --disable-pip-version-check "$@"; }

echo "installing what the notebook has"
install "${hosted[@]}"
python -m pip freeze | sort >"$work/before"
mkdir "$work/source" # where setuptools may write
cp -r aftrans_jax configs pyproject.toml MANIFEST.in README.md LICENSE "$work/source"
echo "pip install ."
install "$work/source"
python -m pip freeze | sort >"$work/after"
python -m pip check

if replaced=$(comm -23 "$work/before" "$work/after" | grep .); then
  printf 'replaced, or gone:\n%s\n' "$replaced" >&2
  exit 1
fi
echo "none of the $(wc -l <"$work/before") packages was replaced; new are:"
comm -13 "$work/before" "$work/after" | sed 's/ @ .*//'
