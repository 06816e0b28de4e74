"""From the rows of a study to configurations, and to the logits they are judged by."""

import copy
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

from aftrans_jax.config import Config, expand_paths
from aftrans_jax.experiment.auto_settings import resolve_auto
from aftrans_jax.experiment.checks import check, check_one_length
from aftrans_jax.experiment.model import MODELS, predicting_head
from aftrans_jax.key_groups import is_left
from aftrans_jax.keys import no_key
from aftrans_jax.settings import configured, flat
from aftrans_jax.studies.definition import Row


def row_config(
    name: str,
    changes: Mapping[str, Any],
    base: Config,
    given: Collection[str] = (),
    *,
    trains: bool = True,
    recorded: Mapping[str, Any] = MappingProxyType({}),
) -> Config:
    """Returns the configuration of a row, checked.

    Args:
      name: name of the row.
      changes: changes of the row, see `Row` and `Study.changes`.
      base: configuration to change.
      given: keys that the command line has set in the base.
      trains: False where the row is only evaluated.
      recorded: settings by key of a run of the row, which then needs no file of weights here.

    Raises:
      ValueError: a key, a value or a path is unknown, or a key is also given on the command line.
    """
    config = copy.deepcopy(base)  # which keeps references
    old = flat(base.to_dict())
    for key, value in changes.items():
        if key not in old:
            raise ValueError(f"row {name!r} changes {key}, which is {no_key(key)}")
        if callable(value) and is_left(key, old[key]):
            if key == "train.steps" and old["train.epochs"] and "train.epochs" in changes:
                continue  # the epochs decide, and the row changes them too
            raise ValueError(
                f"row {name!r} sets {key} from its value, which the base leaves open: give it by "
                f"--config.{key}=VALUE"
            )
        if key in given and not callable(value):
            raise ValueError(
                f"row {name!r} sets {key}={value!r}, and --config.{key} is given too: leave that "
                "out, or take the row out of the study"
            )
        group, _, last = key.rpartition(".")
        section = config[group] if group else config
        new = _computed(name, key, value, old[key]) if callable(value) else value
        try:
            if new is None:
                raise TypeError("None is no value")
            section[last] = new
        except TypeError as error:
            kind = type(old[key]).__name__
            raise ValueError(
                f"row {name!r} sets {key}={new!r}: expected {kind}, as the base's {old[key]!r}"
            ) from error
    try:
        expand_paths(config)
        config = resolve_auto(config, recorded)[0]
        check_one_length(config)
        # The run itself checks what its devices can do.
        settings = flat(config.to_dict()) | {"model.attention": "auto"}
        check(configured(settings), num_devices=1, trains=trains)
    except ValueError as error:
        raise ValueError(f"row {name!r}: {error}") from error
    return config


def _computed(name: str, key: str, function: Callable[[Any], Any], old: Any) -> Any:
    """Returns a row's value, computed from the base's."""
    try:
        return function(old)
    except Exception as error:  # it is the user's function
        raise ValueError(
            f"row {name!r} sets {key} by a function that fails for the base's {old!r}: "
            f"{type(error).__name__}: {error}"
        ) from error


def heads_of(name: str, row: Row, config: Config) -> tuple[str, ...]:
    """Returns the logits that a row is judged by: its own, or else those of its `eval.logits`.

    What finished runs have recorded as their `eval.logits` does not count.

    Args:
      name: name of the row.
      row: row of a study.
      config: configuration of the row.

    Raises:
      ValueError: its model has no such logits.
    """
    heads = row.heads or (predicting_head(config),)
    known = MODELS[config.model.name].heads
    if absent := [head for head in heads if head not in known]:
        raise ValueError(
            f"row {name!r} has heads={list(heads)}: model.name={config.model.name!r} has no "
            f"{absent[0]} logits; choose of {', '.join(known)}"
        )
    return heads
