#!/usr/bin/env bash
# Trains on the GPUs of several nodes under Slurm, one process for each GPU. Arguments go to
# aftrans_jax.main; the same command resumes.
#   sbatch launch/slurm.sh --config=configs/cub.py --config.data.dir=... --workdir=... \
#     --config.train.batch_size=16
#   bash launch/slurm.sh --dry-run --config=...   # prints the command and runs nothing
# The batch is a multiple of the GPUs. Data and workdir lie where all nodes see them. Options of
# sbatch go before the script:
#   sbatch --nodes=1 --gpus-per-node=8 --ntasks-per-node=8 --partition=... launch/slurm.sh ...
#
#SBATCH --job-name=aftrans
#SBATCH --nodes=2
#SBATCH --gpus-per-node=4
# One for each GPU: jax gives a process the GPU that SLURM_LOCALID numbers.
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
# Two minutes before its time is up a run saves and ends.
#SBATCH --signal=TERM@120
#SBATCH --requeue
set -euo pipefail

say=()
if [[ ${1:-} == --dry-run ]]; then
  shift
  say=(printf '%q ')
elif [[ -z ${SLURM_JOB_ID:-} ]]; then
  echo "this is no Slurm job: sbatch launch/slurm.sh ..., or --dry-run to see the command" >&2
  exit 2
elif [[ -z ${VIRTUAL_ENV:-}${CONDA_PREFIX:-} && -f .venv/bin/activate ]]; then
  # shellcheck source=/dev/null
  source .venv/bin/activate
fi

# jax.distributed reads from SLURM_* where process 0 is and which process this is.
${say[@]+"${say[@]}"} srun --kill-on-bad-exit=1 ${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"} \
  python -m aftrans_jax.main --distributed "$@"
