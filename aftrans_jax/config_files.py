"""Files of configurations: where they lie, and the function that each of them has."""

import runpy
from collections.abc import Callable
from pathlib import Path

from aftrans_jax.config import Config


def packaged(path: Path, configs: Path) -> Path:
    """Returns the path of a file, or of `configs/...` that is not there, the package's own.

    Args:
      path: as a user gives it.
      configs: the package's folder of configurations.
    """
    if not path.is_file() and path.parent in (Path("configs"), Path("configs/studies")):
        return configs / path.relative_to("configs")
    return path


def get_config_of(path: Path) -> Callable[..., Config]:
    """Returns the function `get_config` of a configuration's file, which is run.

    Raises:
      ValueError: the file has none, or fails.
    """
    try:
        get = runpy.run_path(str(path)).get("get_config")
    except Exception as error:  # it may be any file, and what is in it may raise anything
        raise ValueError(
            f"{path} fails: {type(error).__name__}: {error}. Expected a configuration in Python, "
            "as configs/demo.py; for a run, give its --workdir alone"
        ) from error
    if get is None:
        raise ValueError(
            f"{path} has no get_config(): add one, as in configs/demo.py, or take another "
            "configuration (of a study: --config=FILE)"
        )
    return get
