#!/usr/bin/env bash
# Lint, types and tests, on a fresh machine too. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/venv.sh requirements-dev.txt
ruff format --check .
ruff check .
said=$(mktemp -d) failed=0
trap 'rm -rf "$said"' EXIT
# Types take one core a minute. On another the tests are collected, which compiles to bytecode what
# pip has not.
basedpyright --level error &>"$said/types" &
python -m pytest --collect-only -q "$@" &>"$said/tests" || failed=$?
((failed == 0)) || cat "$said/tests"
wait $! || failed=$?
cat "$said/types"
((failed == 0)) || exit "$failed"
python -m pytest -n 2 "$@"
