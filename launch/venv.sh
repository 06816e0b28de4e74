# shellcheck shell=bash
# Sourced with a requirements file: makes and activates .venv when no virtual environment is active,
# and installs the file when it is not installed already; requirements.txt with the jax that drives
# this machine's GPU or TPU (AFTRANS_JAX=cpu|cuda12|cuda13|tpu overrides), the others with jax for
# the CPU, on which the tests run. An active environment whose jax drives a GPU or TPU keeps it.
requirements=$1
source launch/jax.sh

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
  # shellcheck source=/dev/null
  source .venv/bin/activate
fi
if ! supported python; then
  echo "Python 3.11 to 3.13 is needed; the active environment has $(python --version)" >&2
  exit 1
fi
prefix=$(python -c 'import sys; print(sys.prefix)')
chosen=$(choose_jax /dev) || exit 1
if [[ $requirements != requirements.txt && -z ${AFTRANS_JAX:-} ]]; then
  chosen="cpu all that $requirements is for runs on it"
fi
echo "jax for ${chosen/ /: }"
kind=${chosen%% *}
stamp=$prefix/.installed-$requirements
wanted="$kind $(cat requirements*.txt | cksum)"
if [[ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]]; then
  install=(-r "$requirements")
  [[ $kind == cpu ]] || install+=("jax[$kind]")
  if [[ -z ${AFTRANS_JAX:-} && ! $prefix -ef .venv ]] && drives_accelerator; then
    if [[ $requirements != requirements.txt ]]; then
      echo "$requirements would replace the jax in $prefix, which drives a GPU or TPU:" \
        "deactivate the environment first, then .venv is made" >&2
      exit 1
    fi
    echo "the jax in $prefix drives a GPU or TPU already: nothing is replaced"
    install=(-e .) # lower bounds in the place of pins
  fi
  echo "installing ${install[*]} into $prefix"
  python -m pip install --quiet --disable-pip-version-check --no-compile "${install[@]}" || exit 1
  if [[ $kind != cpu && -z ${AFTRANS_JAX:-} ]] && ! drives_accelerator; then
    echo "jax for $kind is installed in $prefix and finds no GPU or TPU. Is the driver too old, or" \
      "the device in use? AFTRANS_JAX=cpu runs on the CPU" >&2
    exit 1
  fi
  echo "$wanted" >"$stamp"
fi
