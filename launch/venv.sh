# Sourced with a requirements file: makes and activates .venv when no virtual environment is active,
# and installs the file when it is not installed already.
requirements=$1
if [[ -z "${VIRTUAL_ENV:-}" && -z "${CONDA_PREFIX:-}" ]]; then
  if [[ ! -x .venv/bin/python ]]; then
    python3 -m venv .venv || {
      echo "python3 -m venv failed: on Debian, apt-get install python3-venv" >&2
      exit 1
    }
  fi
  source .venv/bin/activate
fi
python - <<'PYTHON' || exit 1
import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    sys.exit(f"Python 3.11 to 3.13 is needed; this is {sys.version.split()[0]} at {sys.executable}")
PYTHON
stamp=$(python -c 'import sys; print(sys.prefix)')/.installed-$requirements
installed=$(cat requirements*.txt | cksum)
if [[ "$(cat "$stamp" 2>/dev/null)" != "$installed" ]]; then
  echo "installing $requirements into $(python -c 'import sys; print(sys.prefix)')"
  python -m pip install --quiet --disable-pip-version-check -r "$requirements"
  echo "$installed" >"$stamp"
fi
