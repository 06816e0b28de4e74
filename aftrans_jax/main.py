"""Trains or evaluates: `python -m aftrans_jax.main --config=configs/cub.py`."""

import contextlib
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from absl import app, flags, logging

from aftrans_jax import __version__
from aftrans_jax.cache import keep_compiled
from aftrans_jax.command import one_line_errors, outlive_readers
from aftrans_jax.flags import CONFIG, given_keys, parse_flags, unchanged_config
from aftrans_jax.hosts import joined, leave_at_once
from aftrans_jax.workdir.record import read_commands

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


@flags.multi_flags_validator(
    ["distributed", "coordinator", "num_processes", "process_id"],
    "--num_processes and --process_id belong to --coordinator=HOST:PORT of process 0: give it too, "
    "or leave both out",
)
def _joins_if_numbered(given: dict[str, Any]) -> bool:
    is_numbered = given["num_processes"] is not None or given["process_id"] is not None
    return not is_numbered or bool(given["distributed"] or given["coordinator"])


def main(argv: list[str]) -> None:
    """Trains or evaluates as the flags say.

    On an error it exits with 1, prints one line with the remedy, and writes the traceback to
    error.log in the workdir.
    """
    del argv
    workdir = _workdir()
    if not _PROCESS_ID.value:  # at once, since the rest takes seconds
        print(f"aftrans_jax {__version__}: {_MODE.value} in {workdir}", flush=True)
    before = read_commands(workdir)
    is_one_of_many = bool(_DISTRIBUTED.value or _COORDINATOR.value)
    given = (_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    hosts = joined(*given) if is_one_of_many else contextlib.nullcontext()
    try:
        with (
            one_line_errors(
                lambda: workdir if _MODE.value == "train" else None,  # evaluations only add scores
                has_begun=lambda: read_commands(workdir) != before,
            ),
            hosts,
        ):
            code = _run(workdir)
    except SystemExit as error:
        if is_one_of_many and isinstance(error.code, str):
            leave_at_once(error.code)
        if isinstance(error.code, int):
            # A signal, perhaps while a pool starts a thread. An ordinary exit would wait for that
            # thread forever, and for other processes, which in turn wait for this one.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(error.code)
        raise
    if code:
        sys.exit(code)


def _run(workdir: Path) -> int:
    """Returns the exit code with which all processes leave; raises SystemExit to leave alone."""
    keep_compiled()
    # Imported once the devices are known.
    from aftrans_jax.run.launch import launch_evaluation, launch_training
    from aftrans_jax.run.signals import Stopped, StopRequest

    try:
        with StopRequest() as stop:
            if _MODE.value == "eval":
                stop.saved = "the evaluation was stopped; nothing was written"
                launch_evaluation(CONFIG.value, workdir, given_keys(sys.argv))
            else:
                command = shlex.join(["python", "-m", "aftrans_jax.main", *sys.argv[1:]])
                launch_training(CONFIG.value, workdir, stop, command)
    except Stopped as stopped:
        sys.stderr.write(f"{stopped}\n")
        if stopped.agreed:
            return stopped.exit_code
        sys.exit(stopped.exit_code)
    return 0


def _workdir() -> Path:
    """Returns the directory of the run, by default one named after its changed settings."""
    if _WORKDIR.value:
        return Path(_WORKDIR.value)
    from aftrans_jax.settings import flat
    from aftrans_jax.workdir.setting_changes import default_name

    name, plain = unchanged_config()
    return Path("runs", default_name(name, flat(plain.to_dict()), flat(CONFIG.value.to_dict())))


if __name__ == "__main__":
    with one_line_errors():
        outlive_readers()
        logging.set_verbosity(logging.WARNING)
        app.run(main, flags_parser=parse_flags)
