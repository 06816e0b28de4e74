"""The flag `--config` of the commands that take a configuration, and its error messages."""

import difflib
import re
import sys
from pathlib import Path

from absl import app
from ml_collections import config_flags

from aftrans_jax import configs
from aftrans_jax.config import base_config

CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "A file in configs/, of the working directory or else of the package. Any key of "
    "aftrans_jax/config.py is set by --config.KEY=VALUE, for example --config.train.steps=90.",
    lock_config=True,
)


def find_config(name: str) -> str:
    """Returns where a configuration lies: the file of that name, or else the package's own.

    Args:
      name: what follows `--config=`, such as "configs/cub.py" or "configs/cub.py:recipe=transfg".

    Raises:
      FileNotFoundError: there is neither.
    """
    given, colon, argument = name.partition(":")
    path, packaged = Path(given), Path(configs.__path__[0])
    if not path.is_file() and path.parent == Path("configs"):
        path = packaged / path.name
    if not path.is_file():
        names = [f"configs/{file.name}" for file in sorted(packaged.glob("[!_]*.py"))]
        raise FileNotFoundError(
            f"--config={given} is no file: expected the path of one, or a configuration of the "
            f"package: {', '.join(names)}"
        )
    return f"{path}{colon}{argument}"


def _check_keys(argv: list[str]) -> None:
    """Raises ValueError where a key is unknown; ml_collections would name its last part alone."""
    settings = base_config().to_dict()
    groups = {name: group for name, group in settings.items() if isinstance(group, dict)}
    keys = [f"{name}.{key}" for name, group in groups.items() for key in group]
    keys += settings.keys() - groups.keys()
    for argument in argv[1:]:
        given = re.match(r"--?(?:no)?config\.([^=]*)", argument)
        if given and given[1] not in keys:
            near = ", ".join(difflib.get_close_matches(given[1], keys))
            raise ValueError(
                f"--config.{given[1]} is no key of the configuration"
                + (f"; did you mean one of {near}?" if near else "")
                + " (aftrans_jax/config.py lists all keys)"
            )


def _find_configs(argv: list[str]) -> list[str]:
    """Returns the arguments with the path of the configuration in the place of its name."""
    found = list(argv)
    for index, argument in enumerate(argv[1:], start=1):
        flag, equals, name = argument.partition("=")
        if equals and flag in ("--config", "-config"):
            found[index] = f"--config={find_config(name)}"
        elif argv[index - 1] in ("--config", "-config"):
            found[index] = find_config(argument)
    return found


def parse_flags(argv: list[str]) -> list[str]:
    """Returns the arguments that are no flags.

    Exits with 1 and one line where a key or the configuration's file is unknown.
    """
    try:
        _check_keys(argv)
        return app.parse_flags_with_usage(_find_configs(argv))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
