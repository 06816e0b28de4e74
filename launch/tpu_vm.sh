#!/usr/bin/env bash
set -euo pipefail
usage="usage: bash launch/tpu_vm.sh [--dry-run] NAME ZONE [arguments of aftrans_jax.main]

Copies this checkout to every host of a Cloud TPU VM, installs it there once, and trains on all of
them together. The same command resumes. --dry-run prints the commands and runs none.

The VM is made before and deleted afterwards, for example (the batch is a multiple of its chips):
  gcloud compute tpus tpu-vm create NAME --zone=ZONE --accelerator-type=v5litepod-16 \\
    --version=v2-alpha-tpuv5-lite
  bash launch/tpu_vm.sh NAME ZONE --config=configs/cub.py --config.data.dir=... --workdir=... \\
    --config.train.batch_size=16
  gcloud compute tpus tpu-vm delete NAME --zone=ZONE

With more than one host, data.dir and --workdir lie where all of them see them (Filestore or
another NFS). A connection that breaks ends the run: start this in tmux, or again."

run=()
if [[ ${1:-} == --dry-run ]]; then
  shift
  run=(printf '%q ')
fi
if [[ $# -lt 2 || $1 == -* || $2 == -* ]]; then
  echo "$usage" >&2
  exit 2
fi
name=$1 zone=$2
shift 2
cd "$(dirname "$0")/.."

call() { # COMMAND...
  ${run[@]+"${run[@]}"} "$@" # bash before 4.4 takes an empty list for an unset one
  [[ ${#run[@]} == 0 ]] || echo
}

archive=${TMPDIR:-/tmp}/aftrans_jax.tar.gz
call tar -czf "$archive" --exclude=__pycache__ aftrans_jax configs launch requirements.txt \
  pyproject.toml MANIFEST.in README.md LICENSE
call gcloud compute tpus tpu-vm scp "$archive" "$name:aftrans_jax.tar.gz" --zone="$zone" --worker=all

# The images of TPU VMs have Python 3.10; uv brings a newer one. Devices are not touched before
# all hosts run: AFTRANS_JAX=tpu takes the place of looking for them.
install="mkdir -p aftrans_jax && tar -xzf aftrans_jax.tar.gz -C aftrans_jax && cd aftrans_jax"
install+=" && { test -x .venv/bin/python || { python3 -m pip install --quiet --user uv"
install+=" && python3 -m uv venv --seed --python 3.12 .venv; }; } && source .venv/bin/activate"
install+=" && export AFTRANS_JAX=tpu && source launch/venv.sh requirements.txt"
call gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$install"

# jax.distributed asks the VM's metadata for the other hosts.
train="cd aftrans_jax && source .venv/bin/activate && python -m aftrans_jax.main --distributed"
(($# == 0)) || train+=$(printf ' %q' "$@")
call gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$train"
