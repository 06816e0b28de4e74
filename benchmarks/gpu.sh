#!/usr/bin/env bash
# Every figure that one GPU gives, within 9 minutes, the most wanted first.
#
#   bash benchmarks/gpu.sh [FOLDER]     JSON goes to FOLDER, else to $OUT, else to benchmarks/results
#
# Where packages cannot be fetched, clu and ml-collections travel as wheels in an ignored folder:
#   python -m pip download --no-deps --only-binary=:all: -d .whl clu==0.0.12 ml-collections==1.1.0
# What there is no time for is left out and named. BUDGET: seconds in all. PYTHON: the interpreter
# that has JAX. PART=options measures the options of the step instead, which takes a call of its own.
set -uo pipefail # one benchmark that fails does not stop the others
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-python3}
results=${1:-${OUT:-benchmarks/results}}
deadline=$((SECONDS + ${BUDGET:-530}))
failed=0

shopt -s nullglob
wheels=(.wheels/*.whl .whl/*.whl)
if ((${#wheels[@]})); then
  site=$(mktemp -d)
  "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" \
    "${wheels[@]}" || exit 1
  export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
fi
if ! "$python" -c 'import clu.metrics, ml_collections'; then
  echo "error: clu and ml_collections are needed: see the head of $0" >&2
  exit 1
fi

export PYTHONUNBUFFERED=1 TF_CPP_MIN_LOG_LEVEL=2
export XLA_PYTHON_CLIENT_MEM_FRACTION=0.93 # the largest batch is looked for
# Programs that two benchmarks share are compiled once.
cache=$(mktemp -d)
export JAX_COMPILATION_CACHE_DIR=$cache JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=1
trap 'rm -rf "$cache" "${site:-}"' EXIT

run() { # at most SECONDS of what is left: run SECONDS NAME FLAG...
  local left=$((deadline - SECONDS)) limit=$1
  shift
  if ((left < 15)); then
    echo "$*: left out: no time"
    failed=1
    return 1
  fi
  timeout --kill-after=5 $((limit < left ? limit : left)) \
    "$python" -m benchmarks --results="$results" "$@"
  local status=$?
  ((status == 0)) || { echo "$*: exit status $status (${left} s were left)" && failed=1; }
  return $status
}

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
attention=cudnn
run 90 cudnn --results="$cache" || attention=xla # printed alone: few files come back
echo "attention: $attention"
if [[ ${PART:-goals} == options ]]; then
  names="fused_product;scanned;remat_but_products;convolution;float32_residual"
  names+=";xla_gpu_enable_latency_hiding_scheduler=True;xla_gpu_enable_triton_gemm=False"
  run 500 options --attention=$attention --batch=12 --only="$names"
  exit $failed
fi
run 250 step --attention=$attention
run 120 side_path --attention=$attention
run 60 predict --attention=$attention
run 150 torch_peer --attention=$attention --batch=12
run 40 labelling
run 60 predict --attention=$attention --batch=128 --results="$results/batch_128"
run 250 step --attention=$attention --batch=12 --results="$results/batch_12"
run 400 largest_batch --attention=$attention
exit $failed
