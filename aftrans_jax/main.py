"""Trains or evaluates: `python -m aftrans_jax.main --config=configs/cub.py`."""

import os
import sys
import traceback
from pathlib import Path

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from aftrans_jax.flags import CONFIG, parse_flags

flags.declare_key_flag("config")  # so that --help shows it
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Where metrics, checkpoints, report and result go; default runs/<config name>. A workdir that "
    "holds checkpoints is resumed.",
)
_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "eval"],
    "Train, or score the newest checkpoint of the workdir (the best one, with a hold-out).",
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Join the other hosts that TPU pods, Slurm and GKE tell of."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "host:port of process 0, to join other processes elsewhere."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "With --coordinator: how many.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "With --coordinator: which one this is.")


def main(argv: list[str]) -> None:
    """Trains or evaluates as the flags say.

    Where something is wrong it exits with 1, prints one line with the remedy, and writes the
    traceback to error.log in the workdir.
    """
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}: every option is a --flag=value")
    if _DISTRIBUTED.value or _COORDINATOR.value:
        jax.distributed.initialize(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    # After the devices are known; these import what a --help does not need.
    from aftrans_jax.experiment.parts import build
    from aftrans_jax.experiment.run import run

    path, _, argument = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    name = "-".join([Path(path).stem, *argument.split("=")[1:]])  # cub-transfg, for one
    workdir = Path(_WORKDIR.value or f"runs/{name}")
    try:
        run(build(CONFIG.value), workdir, mode=_MODE.value, settings=CONFIG.value.to_dict())
    except (ValueError, OSError, FloatingPointError, jax.errors.JaxRuntimeError) as error:
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / "error.log").write_text(traceback.format_exc(), encoding="utf-8")
        if "RESOURCE_EXHAUSTED" in str(error):
            error = (
                f"{error}\nThe batch is too large for this device: raise train.accumulation_steps"
            )
        sys.exit(f"error: {error}\n(traceback in {workdir / 'error.log'})")


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # a resumed run compiles nothing again
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(caches / "aftrans_jax"))
    flags.mark_flag_as_required("config")
    app.run(main, flags_parser=parse_flags)
