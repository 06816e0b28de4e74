"""A configuration as settings by key, such as "train.steps", and back."""

import json
from collections.abc import Mapping
from typing import Any

from aftrans_jax.config import Config, base_config
from aftrans_jax.json_files import DamagedRecordError


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings by key, such as "train.steps", as JSON stores them: tuples become lists."""
    by_key = {}
    for name, value in json.loads(json.dumps(settings)).items():
        if isinstance(value, dict):
            by_key |= {f"{name}.{key}": item for key, item in flat(value).items()}
        else:
            by_key[name] = value
    return by_key


def configured(settings: Mapping[str, Any]) -> Config:
    """Returns the configuration of settings by key, locked.

    Raises:
      DamagedRecordError: a value has another type than its key.
    """
    config = base_config()
    for key, value in settings.items():
        group, _, name = key.rpartition(".")
        try:
            section = config[group] if group else config
            section[name] = tuple(value) if isinstance(value, list) else value
        except TypeError as error:
            raise DamagedRecordError(
                f"{key}={value!r} in the record of the run: {error}"
            ) from error
    return config
