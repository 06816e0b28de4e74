"""Files of configurations: finding them, running their function, and naming them in errors."""

import contextlib
import inspect
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path

from aftrans_jax.config import Config


def packaged(path: Path, configs: Path) -> Path:
    """Returns a path or, where it is `configs/...` and does not exist, the package's own file.

    Args:
      path: path as given by a user.
      configs: the package's folder of configurations.
    """
    if not path.is_file() and path.parent in (Path("configs"), Path("configs/studies")):
        return configs / path.relative_to("configs")
    return path


@contextlib.contextmanager
def failures_named(
    path: Path, expected: str, but: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Names a user's Python file, which may raise anything, in its errors.

    Args:
      path: path of the file.
      expected: what it should be, for the message.
      but: errors that are clear without it and pass unchanged.

    Raises:
      ValueError: in place of another error.
    """
    try:
        yield
    except but:
        raise
    except Exception as error:
        raise ValueError(
            f"{path} fails: {type(error).__name__}: {error}. Expected {expected}"
        ) from error


def check_argument(get: Callable[..., Config], given: str, argument: str) -> None:
    """Raises ValueError where what follows a configuration's colon is for a function without it.

    Args:
      get: the file's function `get_config`.
      given: the configuration as a user names it, for the message.
      argument: what follows the colon.
    """
    if not inspect.signature(get).parameters:
        raise ValueError(f"{given} has no recipes: leave {f':{argument}'!r} out")


def get_config_of(path: Path) -> Callable[..., Config]:
    """Runs a configuration's file and returns its function `get_config`.

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
