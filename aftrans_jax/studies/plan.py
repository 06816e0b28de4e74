"""The runs of a study: order, directories, settings, which are finished, and expected time."""

import copy
import statistics
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aftrans_jax.config import Config
from aftrans_jax.key_groups import ANSWERS, HELD_OUT_ANSWERS, is_left
from aftrans_jax.run.evaluation import annotated_scores
from aftrans_jax.settings import flat
from aftrans_jax.studies.definition import Study, slug
from aftrans_jax.studies.rows import heads_of, row_config
from aftrans_jax.training.precision import meant_precision
from aftrans_jax.workdir.image_folders import check_moved
from aftrans_jax.workdir.record import completed, read_result, trained_settings
from aftrans_jax.workdir.setting_changes import check_may_train


class Run(NamedTuple):
    """One training of a study, or the evaluation of one by its annotated boxes.

    Attributes:
      row: name of the row.
      seed: seed of the run.
      workdir: directory of the run; the training's, where this evaluates one.
      config: settings of the run.
      heads: logits that it is judged by.
      trained: training that is evaluated, None where this is a training.
    """

    row: str
    seed: int
    workdir: Path
    config: Config
    heads: tuple[str, ...]
    trained: "Run | None" = None

    @property
    def name(self) -> str:
        """The beginning of lines about the run."""
        return f"{self.row}, seed {self.seed}"

    @property
    def log(self) -> Path:
        """The path for its output: beside its directory."""
        added = "" if self.trained is None else f"-{slug(self.row)}"
        return self.workdir.with_name(f"{self.workdir.name}{added}.log")

    def result(self) -> dict[str, Any] | None:
        """Returns the scores that it has left, None where there are none."""
        if self.trained is None:
            return read_result(self.workdir)
        scores = annotated_scores(self.workdir)
        return None if scores is None else scores[0]


def plan(
    study: Study, base: Config, workdir: Path, *, num_seeds: int, given: Collection[str]
) -> list[Run]:
    """Returns all runs of a study: seed 0 of every row first, then seed 1.

    A row that evaluates another one has one run for each run of that row.

    Args:
      study: study with its rows.
      base: configuration of every row, before the row's changes.
      workdir: directory of the study; a run lies in `<row>/seed<k>` below it.
      num_seeds: number of seeds per row.
      given: keys that the command line has set in the base.

    Raises:
      ValueError: a row has an unknown key or value, or sets one that is also given, such as the
        seed; or it is judged by logits that its model lacks.
    """
    if "seed" in given:
        raise ValueError("--config.seed is given: a study takes seeds from 0 up; leave it out")
    configs = {}
    for name, row in study.rows.items():
        recorded = trained_settings(workdir / slug(row.evaluates or name) / "seed0")
        rules = {"trains": not row.evaluates, "recorded": recorded}
        configs[name] = row_config(name, study.changes(name), base, given, **rules)
    runs = []
    for seed in range(num_seeds):
        by_row: dict[str, Run] = {}
        for name, config in configs.items():
            own = copy.deepcopy(config)
            own.seed = seed
            trained = by_row.get(study.rows[name].evaluates)
            place = workdir / slug(name) / f"seed{seed}" if trained is None else trained.workdir
            heads = heads_of(name, study.rows[name], own)
            by_row[name] = Run(name, seed, place, own, heads, trained)
        runs += by_row.values()
    return runs


def is_finished(run: Run) -> bool:
    """Returns whether the run's directory holds its results, so that there is nothing to do.

    A training must have the same steps; where they are left open, the same epochs.

    Raises:
      ValueError: the directory holds a run of other settings or photos, or scores made with others.
    """
    settings = flat(run.config.to_dict())
    key = "train.steps"
    if run.trained is None:
        check_may_train(run.workdir, settings, elsewhere="give the study another --workdir")
        if moved := moved_photos(run):
            check_moved(run.workdir, *map(Path, moved))
    elif not is_finished(run.trained):
        return False
    if (result := run.result()) is None:
        return False
    scored = completed(flat(result["config"]), run.workdir)
    if is_left(key, settings[key]):
        key = "train.epochs"
    if run.trained is None and scored[key] != settings[key]:
        return False
    _check_answers(run, result, scored, settings)
    return True


def moved_photos(run: Run) -> tuple[str, str] | None:
    """Returns the photos' folder in the record of a run's directory, and the study's folder.

    None where both are the same, or nothing was trained there.
    """
    old = trained_settings(run.workdir).get("data.dir")
    new = run.config.data.dir
    return None if old in (None, new) else (old, new)


def _check_answers(
    run: Run, result: Mapping[str, Any], scored: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
    """Raises ValueError where the scores of a run are not comparable with those of this study."""
    device = result.get("device", "").rpartition(" x ")[2]
    then, now = (
        {**x, "train.precision": meant_precision(x["train.precision"], device)}
        for x in (scored, settings)
    )
    for key in HELD_OUT_ANSWERS if result.get("validation") else ANSWERS:
        if then[key] != now[key] and not is_left(key, now[key]):
            name = "result" if run.trained is None else "eval-test-annotated"
            raise ValueError(
                f"{run.workdir} was scored with {key}={scored[key]!r}, and the study has "
                f"{key}={settings[key]!r} now: set it back, take another --workdir, or move "
                f"{name}.json out of that folder to have the run scored again"
            )


def expected_seconds(runs: Iterable[Run], finished: Collection[Run]) -> float | None:
    """Returns the time for runs one after the other; None where no training is finished yet.

    A run takes as long as finished ones of its row, or else as all finished ones; an evaluation in
    a row without any, which takes a fraction of a training, is not counted.
    """
    took: dict[str, list[float]] = {}
    everything: list[float] = []
    for run in finished:
        if (seconds := _seconds(run.result() or {})) is not None:
            took.setdefault(run.row, []).append(seconds)
            everything += [] if run.trained else [seconds]
    if not everything:
        return None
    similar = ((run.row, [0.0] if run.trained else everything) for run in runs)
    return sum(statistics.median(took.get(row, others)) for row, others in similar)


def _seconds(result: Mapping[str, Any]) -> float | None:
    """Returns how long a run took: its last start, or the training of all its steps if longer."""
    if (seconds := result.get("seconds")) is None:
        return None
    train = result["config"]["train"]
    speed = result.get("images_per_second")
    steps = result.get("stopped_at_step", train["steps"])
    return max(float(seconds), steps * train["batch_size"] / speed if speed else 0.0)
