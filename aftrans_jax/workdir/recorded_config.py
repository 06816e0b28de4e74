"""The configuration that a directory records, used for `--config` where it is not given."""

from pathlib import Path

from aftrans_jax.config import Config
from aftrans_jax.workdir.record import configured, read_settings


def get_config(workdir: str) -> Config:
    """Returns the configuration of the run in a directory.

    Raises:
      FileNotFoundError: no run was started there.
      DamagedRecordError: the record cannot be used.
    """
    settings = read_settings(Path(workdir))
    if settings is None:
        raise FileNotFoundError(
            f"{workdir} has no config.json: expected the --workdir of a run, or --config=FILE to "
            "start one there"
        )
    return configured(settings)
