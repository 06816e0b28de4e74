"""Trains or evaluates: `python -m aftrans_jax.main --config=configs/cub.py`."""

import os
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from aftrans_jax.command import one_line_errors
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
    del argv
    path, _, argument = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    name = "-".join([Path(path).stem, *argument.split("=")[1:]])  # cub-transfg, for one
    workdir = Path(_WORKDIR.value or f"runs/{name}")
    with one_line_errors(lambda: workdir):
        _run(workdir)


def _run(workdir: Path) -> None:
    import jax  # which a --help does not need

    jax.config.update("jax_compilation_cache_dir", _compilation_cache())
    if _DISTRIBUTED.value or _COORDINATOR.value:
        jax.distributed.initialize(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    # After the devices are known.
    from aftrans_jax.experiment.parts import build
    from aftrans_jax.experiment.run import run

    run(build(CONFIG.value), workdir, mode=_MODE.value, settings=CONFIG.value.to_dict())


def _compilation_cache() -> str | None:
    """Returns where compiled programs are kept, so that a resumed run compiles nothing again."""
    if (given := os.environ.get("JAX_COMPILATION_CACHE_DIR")) is not None:
        return given or None
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    # Without a home directory, as in some containers, there is no place for them.
    return None if caches.startswith("~") else str(Path(caches, "aftrans_jax"))


if __name__ == "__main__":
    with one_line_errors():
        logging.set_verbosity(logging.WARNING)
        flags.mark_flag_as_required("config")
        app.run(main, flags_parser=parse_flags)
