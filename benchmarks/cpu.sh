#!/usr/bin/env bash
# The ratios of docs/accelerators.md, Speed, with a small model on a CPU, within 5 minutes on two free cores.
#
#   bash benchmarks/cpu.sh [FLAG...]     as of `python -m benchmarks`: --results=FOLDER
#
# PYTHON: the interpreter that has the packages.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$(mktemp -d) # programs that two benchmarks share are compiled once
trap 'rm -rf "$cache"' EXIT
export JAX_PLATFORMS=cpu PYTHONUNBUFFERED=1 JAX_COMPILATION_CACHE_DIR=$cache
"${PYTHON:-.venv/bin/python}" -m benchmarks step side_path predict labelling torch_peer "$@"
