"""Trains or evaluates: `python -m aftrans_jax.main --config=configs/cub.py`."""

import os
import runpy
import sys
import traceback
from pathlib import Path

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from aftrans_jax.flags import CONFIG, given_keys, parse_flags

flags.declare_key_flag("config")  # so that --help shows it
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Where metrics, checkpoints, report and result go; default runs/<config name>,<changed keys>. "
    "A workdir that holds a run is resumed, also without --config.",
)
_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "eval"],
    "Train, or score the newest checkpoint of the workdir (the best one, with a hold-out) on its "
    "test split or on another labelled set, given by --config.data.dir.",
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
    """Runs what the flags say; exits with 1 and one line when something is wrong.

    Choice: the whole traceback goes to error.log in the workdir, the remedy to the terminal.
    """
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}: every option is a --flag=value")
    if _DISTRIBUTED.value or _COORDINATOR.value:
        jax.distributed.initialize(
            _COORDINATOR.value,
            _NUM_PROCESSES.value,
            _PROCESS_ID.value,
            heartbeat_timeout_seconds=20,  # by then a process that died has ended the others
        )
    # After the devices are known; these import what a --help does not need.
    from aftrans_jax.experiment.launch import launch_evaluation, launch_training
    from aftrans_jax.experiment.signals import Stopped, StopRequest

    config, workdir = CONFIG.value, _workdir()
    try:
        with StopRequest() as stop:
            if _MODE.value == "eval":
                launch_evaluation(config, workdir, given_keys(sys.argv))
            else:
                launch_training(config, workdir, stop)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(stopped.exit_code)
    except (ValueError, OSError, FloatingPointError, jax.errors.JaxRuntimeError) as error:
        log = _write_error_log(workdir)
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error):
            error = (
                f"{error}\nThe batch is too large for this device: raise train.accumulation_steps"
            )
        message = f"error: {error}" + (f"\n(traceback in {log})" if log else "")
        if jax.process_count() > 1:  # an ordinary exit would wait minutes for one that has died
            sys.stderr.write(f"{message}\nStart all processes again: the run is resumed\n")
            sys.stderr.flush()
            os._exit(1)
        sys.exit(message)


def _workdir() -> Path:
    """Returns the directory of the run, by default one that its changed settings name."""
    if _WORKDIR.value:
        return Path(_WORKDIR.value)
    from aftrans_jax.experiment.workdir import default_name, flat

    path, colon, argument = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    name = "-".join([Path(path).stem, *argument.split("=")[1:]])  # cub-transfg, for one
    plain = runpy.run_path(path)["get_config"](*([argument] if colon else []))
    return Path("runs", default_name(name, flat(plain.to_dict()), flat(CONFIG.value.to_dict())))


def _write_error_log(workdir: Path) -> Path | None:
    """Returns where the traceback of a training was written; None where that failed too."""
    path = workdir / "error.log"
    if _MODE.value == "eval":
        return None  # which writes its scores alone
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        path.write_text(traceback.format_exc(), encoding="utf-8")
    except OSError:
        return None
    return path


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # a resumed run compiles nothing again
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(caches / "aftrans_jax"))
    flags.mark_flag_as_required("config")
    app.run(main, flags_parser=parse_flags)
