r"""Runs a study, one command a table: `python -m aftrans_jax.study --study=FILE --workdir=DIR`.

A study names rows of changes to a configuration. Each row is trained with several seeds, each as
an ordinary run in <workdir>/<row>/seed<k>, which main, predict and compare take as they take any
run; <workdir>/<row>/seed<k>.log is what it printed. Seed 0 of every row comes first, then seed 1.
The same command goes on after whatever ended it: finished runs are passed over, others resume.
A row may evaluate the runs of another one by the annotated boxes, a ceiling, without training.
A training that a killed study left running is waited for. One that fails is reported, the others
go on, and the exit code is 1. As runs end table.md, table.csv and table.html are written.

    python -m aftrans_jax.study --study=configs/studies/table6.py --workdir=studies/table6 \
      --config.data.name=cub --config.data.dir=/data/CUB_200_2011 \
      --config.pretrained=deit_tiny_patch16_224.npz

The studies of configs/studies train 90 steps of 20, made for a few hundred photos; for a whole set
add --config.train.epochs=10.

With --probe nothing is trained: a logistic regression on the frozen model's class tokens answers,
minutes a row on a CPU. It needs scikit-learn.

    python -m aftrans_jax.study --study=configs/studies/probe.py --probe --workdir=studies/probe \
      --config.data.name=cub --config.data.dir=/data/CUB_200_2011 \
      --config.pretrained=deit_tiny_patch16_224.npz

--config.KEY=VALUE applies to every row; --config=FILE replaces the configuration that the rows
change, such as --config=configs/demo.py for the built-in birds.
"""

import os
import shlex
import sys
from functools import partial
from pathlib import Path

from absl import app, flags, logging

from aftrans_jax.cache import keep_compiled
from aftrans_jax.command import one_line_errors
from aftrans_jax.files import make_folder
from aftrans_jax.flags import (
    CONFIG,
    canonical,
    find_config,
    given_keys,
    parse_flags,
    path_given,
)

flags.declare_key_flag("config")
_STUDY = flags.DEFINE_string(
    "study", None, "A file in configs/studies/, of the working directory or else of the package."
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Where the runs and the table go.",
    allow_override=True,  # main defines its own
)
_SEEDS = flags.DEFINE_integer("seeds", None, "Runs of each row; default: the study's number.", 1)
_JOBS = flags.DEFINE_integer("jobs", 1, "Trainings at a time, which share the device.", 1)
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Only say which runs there are, which are finished, and the time left."
)
_PROBE = flags.DEFINE_bool(
    "probe", False, "Train nothing: logistic regressions on the frozen model's class tokens."
)
COMMAND = (sys.executable, "-m", "aftrans_jax.main")


def main(argv: list[str]) -> None:
    """Trains what is not finished and writes the table; exits 1 where a run failed."""
    del argv
    with one_line_errors():
        if not _STUDY.value or not _WORKDIR.value:
            raise ValueError(
                f"--study={_STUDY.value} --workdir={_WORKDIR.value}: both are needed, for example "
                "--study=configs/studies/table6.py --workdir=studies/table6"
            )
        if _PROBE.value and (_SEEDS.value or _JOBS.value > 1 or _DRY_RUN.value):
            raise ValueError(
                "--probe takes no --seeds, --jobs or --dry_run: it depends on no seed, and each "
                "row takes the whole device for minutes; leave them out"
            )
        _run(Path(find_config(_STUDY.value, "study")), Path(_WORKDIR.value))


def _run(path: Path, workdir: Path) -> None:
    environment = dict(os.environ)
    if _PROBE.value:
        keep_compiled()
    else:
        os.environ["JAX_PLATFORMS"] = "cpu"  # leaves the accelerator to the trainings
    from aftrans_jax.studies.definition import load_study
    from aftrans_jax.studies.plan import plan
    from aftrans_jax.studies.probe_rows import probe_plan, run_probes
    from aftrans_jax.studies.study import dry_run, run_study, with_boxes
    from aftrans_jax.studies.table_files import write_study
    from aftrans_jax.workdir.lock import locked

    study = load_study(path)
    given = given_keys(sys.argv)
    if _PROBE.value:
        runs = probe_plan(study, CONFIG.value, workdir, given=given)
    else:
        num_seeds = _SEEDS.value or study.num_seeds
        runs = plan(study, CONFIG.value, workdir, num_seeds=num_seeds, given=given)
    runs = with_boxes(runs, _say)
    if _DRY_RUN.value:
        _report(dry_run(runs, num_jobs=_JOBS.value, say=_say))
        return
    make_folder(workdir)
    command = shlex.join(["python", "-m", "aftrans_jax.study", *sys.argv[1:]])
    write_table = partial(write_study, study, workdir, command=command)
    with locked(workdir):
        if _PROBE.value:
            failures = run_probes(runs, write_table=write_table, say=_say)
            number = 0
        else:
            failures, number = run_study(
                runs,
                num_jobs=_JOBS.value,
                command=COMMAND,
                environment=environment,
                write_table=write_table,
                say=_say,
            )
    if number:
        _say("stopped; what was trained is saved: the same command goes on")
        sys.exit(128 + number)
    _report(failures)


def _report(failures: list[str]) -> None:
    if failures:
        sys.exit(f"error: these failed, as said above: {'; '.join(failures)}")


def _say(line: str) -> None:
    print(line, flush=True)


def with_base(argv: list[str]) -> list[str]:
    """Returns the arguments with the study's own configuration as --config, if none is given."""
    argv = canonical(argv)
    study = path_given(argv, "study")
    if study is None or path_given(argv, "config") is not None:
        return argv
    return [argv[0], f"--config={find_config(study, 'study')}", *argv[1:]]


if __name__ == "__main__":
    with one_line_errors():
        logging.set_verbosity(logging.WARNING)
        app.run(main, flags_parser=partial(parse_flags, needs_config=False, with_own=with_base))
