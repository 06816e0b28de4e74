#!/usr/bin/env bash
# The ratios of PERFORMANCE with a small model on a CPU, within 5 minutes on two free cores.
#
#   bash benchmarks/cpu.sh [FOLDER]     JSON goes to FOLDER, else to benchmarks/results
#
# PYTHON: the interpreter that has the packages.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
results=${1:-benchmarks/results}
cache=$(mktemp -d) # programs that two benchmarks share are compiled once
trap 'rm -rf "$cache"' EXIT
export JAX_PLATFORMS=cpu PYTHONUNBUFFERED=1 JAX_COMPILATION_CACHE_DIR=$cache

model=(--variant=ti16 --image-size=224 --precision=float32)
"$python" -m benchmarks.step "${model[@]}" --batch=4 --steps=5 --warmup=1 \
  --output="$results/step_cpu.json"
"$python" -m benchmarks.side_path "${model[@]}" --batch=4 --steps=5 --warmup=1 \
  --output="$results/side_path_cpu.json"
"$python" -m benchmarks.predict "${model[@]}" --batch=8 --steps=7 --warmup=1 \
  --output="$results/predict_cpu.json"
"$python" -m benchmarks.labelling --out="$results/labelling_cpu.json"
if "$python" -c "import torch" 2>/dev/null; then
  "$python" -m benchmarks.torch_peer "${model[@]}" --batch=4 --steps=7 --warmup=1 \
    --output="$results/torch_peer_cpu.json"
else
  echo "torch_peer left out: no PyTorch in $python"
fi
