"""The runs of a study: order, directories, settings; which are done and how long others take."""

import copy
import statistics
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from aftrans_jax.config import Config
from aftrans_jax.experiment.checks import check
from aftrans_jax.experiment.settled import settled
from aftrans_jax.experiment.workdir import (
    check_may_train,
    configured,
    finished_result,
    flat,
    read_result,
)
from aftrans_jax.studies.definition import Row, Study, slug


class Run(NamedTuple):
    """One training of a study: a row, a seed, and the directory and settings of the run."""

    row: str
    seed: int
    workdir: Path
    config: Config

    @property
    def name(self) -> str:
        """What lines about the run begin with."""
        return f"{self.row}, seed {self.seed}"


def plan(
    study: Study, base: Config, workdir: Path, *, num_seeds: int, given: Collection[str]
) -> list[Run]:
    """Returns all runs of a study: seed 0 of every row first, then seed 1.

    Args:
      study: with its rows.
      base: configuration of every row, before the row's changes.
      workdir: of the study; a run lies in `<row>/seed<k>` below it.
      num_seeds: of each row.
      given: keys that the command line has set in the base.

    Raises:
      ValueError: a row has an unknown key or value, or sets one that is given too, as the seed is.
    """
    if "seed" in given:
        raise ValueError("--config.seed is given: a study takes seeds from 0 up; leave it out")
    configs = {name: row_config(name, row, base, given) for name, row in study.rows.items()}
    found = []
    for seed in range(num_seeds):
        for name, config in configs.items():
            own = copy.deepcopy(config)
            own.seed = seed
            found.append(Run(name, seed, workdir / slug(name) / f"seed{seed}", own))
    return found


def row_config(
    name: str, row: Row, base: Config, given: Collection[str] = (), *, trains: bool = True
) -> Config:
    """Returns the configuration of a row; `trains` is False where it is evaluated alone.

    Raises:
      ValueError: a key or a value is unknown, or a key is given on the command line too.
    """
    config, known = copy.deepcopy(base), flat(base.to_dict())  # whose references stay
    for key, value in row.changes.items():
        if key not in known:
            raise ValueError(f"row {name!r} changes {key}, which is no key of the configuration")
        if key in given and not callable(value):
            raise ValueError(
                f"row {name!r} sets {key}={value!r}, and --config.{key} is given too: leave that "
                "out, or take the row out of the study"
            )
        group, _, last = key.rpartition(".")
        section = config[group] if group else config
        try:
            section[last] = value(known[key]) if callable(value) else value
        except TypeError as error:
            raise ValueError(f"row {name!r} sets {key}={value!r}: {error}") from error
    try:
        config, _ = settled(config)
        # What the devices of the run can do, the run itself checks.
        settings = flat(config.to_dict()) | {"model.attention": "auto"}
        check(configured(settings), num_devices=1, trains=trains)
    except ValueError as error:
        raise ValueError(f"row {name!r}: {error}") from error
    return config


def is_finished(run: Run) -> bool:
    """Returns whether a directory holds the finished run, so that there is nothing to train.

    Raises:
      ValueError: it holds a run of other settings.
    """
    settings = flat(run.config.to_dict())
    check_may_train(run.workdir, settings)
    return finished_result(run.workdir, settings["train.steps"]) is not None


def expected_seconds(runs: Iterable[Run], finished: Collection[Run]) -> float | None:
    """Returns how long runs take one after the other; None where no run is finished yet.

    A run takes what the finished ones of its row took, or else what all finished ones took.
    """
    took: dict[str, list[float]] = {}
    for run in finished:
        seconds = (read_result(run.workdir) or {}).get("seconds")
        if isinstance(seconds, int | float):
            took.setdefault(run.row, []).append(float(seconds))
    everything = [seconds for known in took.values() for seconds in known]
    if not everything:
        return None
    return sum(statistics.median(took.get(run.row, everything)) for run in runs)
