# Sourced with a requirements file: makes and activates .venv when no virtual environment is active,
# and installs the file when it is not installed already.
requirements=$1

supported() {
  "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

make_venv() {
  local python
  for python in python3 python3.13 python3.12 python3.11; do
    if supported "$python"; then
      "$python" -m venv .venv && return
      rm -rf .venv # Debian and Colab ship Python without ensurepip
      "$python" -m pip install --quiet virtualenv && "$python" -m virtualenv --quiet .venv && return
      echo "$python cannot make a virtual environment: apt-get install python3-venv" >&2
      return 1
    fi
  done
  echo "Python 3.11 to 3.13 is needed; python3 is $(python3 --version 2>&1)" >&2
  return 1
}

if [[ -z "${VIRTUAL_ENV:-}" && -z "${CONDA_PREFIX:-}" ]]; then
  [[ -x .venv/bin/python ]] || make_venv || exit 1
  source .venv/bin/activate
fi
if ! supported python; then
  echo "Python 3.11 to 3.13 is needed; the active environment has $(python --version)" >&2
  exit 1
fi
prefix=$(python -c 'import sys; print(sys.prefix)')
stamp=$prefix/.installed-$requirements
wanted=$(cat requirements*.txt | cksum)
if [[ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]]; then
  echo "installing $requirements into $prefix"
  python -m pip install --quiet --disable-pip-version-check -r "$requirements"
  echo "$wanted" >"$stamp"
fi
