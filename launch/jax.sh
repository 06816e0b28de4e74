# shellcheck shell=bash
# Sourced: which jax this machine needs. Functions only.

# Prints "KIND REASON", KIND being cpu, cuda12, cuda13 or tpu: $AFTRANS_JAX, or what drives the GPU
# or TPU that is found. $1 is the folder of device files.
choose_jax() {
  local version
  case ${AFTRANS_JAX:-} in
    cpu | cuda12 | cuda13 | tpu) echo "$AFTRANS_JAX AFTRANS_JAX=$AFTRANS_JAX" && return ;;
    ?*)
      echo "AFTRANS_JAX=$AFTRANS_JAX is unknown: choose one of cpu, cuda12, cuda13, tpu" >&2
      return 1
      ;;
  esac
  # "CUDA Version: 12.4", from driver 595 on "CUDA UMD Version: 13.2": the newest that it can run.
  version=$(nvidia-smi 2>/dev/null |
    sed -nE 's/.*CUDA( UMD)? Version: *([0-9]+)\.([0-9]+).*/\2 \3/p' || true)
  if [[ -n $version ]]; then
    if ((${version% *} >= 13)); then echo -n cuda13; else echo -n cuda12; fi
    echo " nvidia-smi reports CUDA ${version/ /.}"
  elif compgen -G "$1/accel[0-9]*" >/dev/null || compgen -G "$1/vfio/[0-9]*" >/dev/null; then
    echo "tpu $1 has the files of a TPU"
  else
    echo "cpu neither nvidia-smi nor $1/accel* or $1/vfio/* shows a GPU or TPU"
  fi
}

# Whether the environment has a jax that drives a GPU or TPU.
drives_accelerator() {
  python -c 'import jax; raise SystemExit(jax.default_backend() == "cpu")' 2>/dev/null
}
