"""Files of configurations: where they lie, the function that each has, and how one fails."""

import contextlib
import runpy
from collections.abc import Callable, Iterator
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


@contextlib.contextmanager
def failures_named(
    path: Path, expected: str, but: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Has the errors of a user's Python file, which may raise anything, name it.

    Args:
      path: of the file.
      expected: what it should be, for the message.
      but: errors that speak for themselves and pass.

    Raises:
      ValueError: in the place of another error.
    """
    try:
        yield
    except but:
        raise
    except Exception as error:
        raise ValueError(
            f"{path} fails: {type(error).__name__}: {error}. Expected {expected}"
        ) from error


def get_config_of(path: Path) -> Callable[..., Config]:
    """Returns the function `get_config` of a configuration's file, which is run.

    Raises:
      ValueError: the file has none, or fails.
    """
    expected = "a configuration in Python, as configs/demo.py; for a run, give its --workdir alone"
    with failures_named(path, expected):
        get = runpy.run_path(str(path)).get("get_config")
    if get is None:
        raise ValueError(
            f"{path} has no get_config(): add one, as in configs/demo.py, or take another "
            "configuration (of a study: --config=FILE)"
        )
    return get
