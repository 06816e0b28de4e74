#!/usr/bin/env bash
# Lint, types and tests, on a fresh machine too. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/venv.sh requirements-dev.txt
ruff format --check .
ruff check .
basedpyright --level error
python -m pytest -n 2 "$@"
