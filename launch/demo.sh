#!/usr/bin/env bash
# Trains AFTrans on the built-in birds, evaluates it, and prints where the report is.
# Arguments go to aftrans_jax.main, for example --config.model.name=vit.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/venv.sh requirements.txt
python -m aftrans_jax.main --config=configs/demo.py "$@"
