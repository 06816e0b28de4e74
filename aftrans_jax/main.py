"""Trains or evaluates: `python -m aftrans_jax.main --config=configs/cub.py`."""

import difflib
import re
import sys
import traceback
from pathlib import Path

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from aftrans_jax.config import base_config

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "A file in configs/. Any key of aftrans_jax/config.py is set by --config.KEY=VALUE, "
    "for example --config.train.steps=90.",
    lock_config=True,
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Where metrics, checkpoints, report and result go; default runs/<config name>. A workdir that "
    "holds checkpoints is resumed.",
)
_MODE = flags.DEFINE_enum(
    "mode", "train", ["train", "eval"], "Train, or score the newest checkpoint of the workdir."
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Join the other hosts that TPU pods, Slurm and GKE tell of."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "host:port of process 0, to join other processes elsewhere."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "With --coordinator: how many.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "With --coordinator: which one this is.")


def parse_flags(argv: list[str]) -> list[str]:
    """Returns the arguments that are no flags; exits with 1 where a key or the file is unknown.

    Choice: ml_collections would show a traceback that ends in the last part of the key.
    """
    settings = base_config().to_dict()
    groups = {name: group for name, group in settings.items() if isinstance(group, dict)}
    keys = [f"{name}.{key}" for name, group in groups.items() for key in group]
    keys += settings.keys() - groups.keys()
    for argument in argv[1:]:
        given = re.match(r"--?(?:no)?config\.([^=]*)", argument)
        if given and given[1] not in keys:
            near = ", ".join(difflib.get_close_matches(given[1], keys))
            sys.exit(
                f"error: --config.{given[1]} is no key of the configuration"
                + (f"; did you mean one of {near}?" if near else "")
                + " (aftrans_jax/config.py lists all keys)"
            )
    try:
        return app.parse_flags_with_usage(argv)
    except OSError as error:  # from reading the file, when keys are set on the command line
        sys.exit(f"error: {error}")


def main(argv: list[str]) -> None:
    """Runs what the flags say; exits with 1 and one line when something is wrong.

    Choice: the whole traceback goes to error.log in the workdir, the remedy to the terminal.
    """
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}: every option is a --flag=value")
    if _DISTRIBUTED.value or _COORDINATOR.value:
        jax.distributed.initialize(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    # After the devices are known; these import what a --help does not need.
    from aftrans_jax.build.experiment import build
    from aftrans_jax.run import run

    name = Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem
    workdir = Path(_WORKDIR.value or f"runs/{name}")
    try:
        run(build(_CONFIG.value), workdir, mode=_MODE.value, settings=_CONFIG.value.to_dict())
    except (ValueError, OSError, FloatingPointError) as error:
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / "error.log").write_text(traceback.format_exc(), encoding="utf-8")
        sys.exit(f"error: {error}\n(traceback in {workdir / 'error.log'})")


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    flags.mark_flag_as_required("config")
    app.run(main, flags_parser=parse_flags)
