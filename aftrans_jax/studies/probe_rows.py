"""The rows of a study as linear probes instead of trainings."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from aftrans_jax.config import Config
from aftrans_jax.files import make_folder
from aftrans_jax.json_files import write_json
from aftrans_jax.key_groups import NOT_OF_PROBE, is_listed
from aftrans_jax.model.heads import HEADS
from aftrans_jax.run.results import devices
from aftrans_jax.settings import flat
from aftrans_jax.studies.definition import Study, slug
from aftrans_jax.studies.plan import Run
from aftrans_jax.studies.probe import Probe, new_classifier, probe
from aftrans_jax.studies.rows import heads_of, row_config
from aftrans_jax.studies.study import Say, TableWriter, accuracies, duration
from aftrans_jax.workdir.predictions_csv import write_predictions
from aftrans_jax.workdir.record import trained_settings


def probe_plan(study: Study, base: Config, workdir: Path, *, given: Collection[str]) -> list[Run]:
    """Returns one run per row, in `<workdir>/<row>/probe`; a probe does not depend on a seed.

    Args:
      study: study with its rows.
      base: configuration of every row, before the row's changes.
      workdir: directory of the study.
      given: keys that the command line has set in the base.

    Raises:
      ValueError: see `rows.row_config` and `rows.heads_of`; or a row has `eval.mirror`.
    """
    configs = {
        name: row_config(name, study.changes(name), base, given, trains=False)
        for name in study.rows
    }
    for name, config in configs.items():
        if config.eval.mirror:
            raise ValueError(
                f"row {name!r} has eval.mirror=True: a probe looks at each image once; leave it out"
            )
    return [
        Run(
            name,
            0,
            workdir / slug(name) / "probe",
            config,
            heads_of(name, study.rows[name], config),
        )
        for name, config in configs.items()
    ]


def run_probes(
    runs: Sequence[Run], *, write_table: Callable[[Sequence[Run]], None], say: Say
) -> list[str]:
    """Probes the rows that are not finished, writing a table after each; returns names of failures.

    A row leaves predictions.csv and result.json, as a training does.

    Args:
      runs: runs from `probe_plan`.
      write_table: writes the table of the runs so far.
      say: shows a line.

    Raises:
      RuntimeError: scikit-learn is not installed.
    """
    new_classifier()  # without scikit-learn every row would fail
    table = TableWriter(write_table, say)
    said: set[str] = set()  # notes that were shown
    done: list[Run] = []
    failures: list[str] = []
    for number, run in enumerate(runs, start=1):
        began = time.monotonic()
        try:
            if _is_probed(run):
                done.append(run)
                say(f"[{number}/{len(runs)}] {run.row} is finished: {accuracies(run)}")
                continue
            probed = probe(run.config)
        # Such as a missing file of weights, or too little memory.
        except (OSError, ValueError, jax.errors.JaxRuntimeError) as error:
            failures.append(run.row)
            say(f"[{number}/{len(runs)}] {run.row} FAILED: {error}")
            continue
        for note in probed.notes:
            if note not in said:  # most are the same for every row
                say(f"note: {note}")
        said.update(probed.notes)
        _write(run, probed, time.monotonic() - began)
        done.append(run)
        table.update(done, at_once=True)
        took = duration(time.monotonic() - began)
        area = "" if probed.area is None else f"  (boxes of {probed.area:.2f} of the photo)"
        say(f"[{number}/{len(runs)}] {run.row}: {accuracies(run)}{area} in {took}")
    table.update(done, at_once=True)
    return failures + table.problems


def _is_probed(run: Run) -> bool:
    """Returns whether a directory holds the probe of these settings; unread keys do not count."""

    def read(settings: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in settings.items() if not is_listed(key, NOT_OF_PROBE)}

    return read(trained_settings(run.workdir)) == read(flat(run.config.to_dict()))


def _write(run: Run, probed: Probe, seconds: float) -> None:
    make_folder(run.workdir)
    write_predictions(run.workdir / "predictions.csv", probed.dataset, probed.outcomes)
    result = {
        "step": 0,
        "num_test": len(probed.outcomes["label"]),
        **{f"{head}_accuracy": probed.accuracies.get(head) for head in HEADS},
        "box_area_mean": probed.area,
        "num_train": probed.num_train,
        "num_classes": len(probed.dataset.class_names),
        "device": devices(),
        "seconds": seconds,
        "config": run.config.to_dict(),
    }
    write_json(run.workdir / "classes.json", probed.dataset.class_names)
    write_json(run.workdir / "result.json", result)
