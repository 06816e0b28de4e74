"""The flag `--config` of the commands that take a configuration; what is said of a wrong one."""

import difflib
import re
import runpy
import sys
from pathlib import Path

from absl import app
from ml_collections import config_flags

from aftrans_jax.config import base_config

CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "A file in configs/. Any key of aftrans_jax/config.py is set by --config.KEY=VALUE, "
    "for example --config.train.steps=90.",
    lock_config=True,
)


def given_keys(argv: list[str]) -> set[str]:
    """Returns the keys of the configuration that are set on a command line."""
    matches = (re.match(r"--?(?:no)?config\.([^=]*)", argument) for argument in argv[1:])
    return {match[1] for match in matches if match}


def _with_recorded(argv: list[str]) -> list[str]:
    """Returns the arguments with the record of --workdir as --config, where none is given."""
    found = {}
    for name in ("config", "workdir"):
        for index, argument in enumerate(argv[1:], start=1):
            if argument.split("=", 1)[0] in (f"--{name}", f"-{name}"):
                found[name] = argument.partition("=")[2] or "".join(argv[index + 1 : index + 2])
    if "config" in found or "workdir" not in found:
        return argv
    record = Path(__file__).with_name("experiment") / "recorded.py"
    get_config = runpy.run_path(str(record))["get_config"]
    get_config(found["workdir"])  # raises what ml_collections would hide
    return [argv[0], f"--config={record}:{found['workdir']}", *argv[1:]]


def parse_flags(argv: list[str]) -> list[str]:
    """Returns the arguments that are no flags; exits with 1 where a key or the file is unknown.

    Choice: ml_collections would show a traceback that ends in the last part of the key.
    """
    settings = base_config().to_dict()
    groups = {name: group for name, group in settings.items() if isinstance(group, dict)}
    keys = [f"{name}.{key}" for name, group in groups.items() for key in group]
    keys += settings.keys() - groups.keys()
    for argument in argv[1:]:
        given = re.match(r"--?(?:no)?config\.([^=]*)", argument)
        if given and given[1] not in keys:
            near = ", ".join(difflib.get_close_matches(given[1], keys))
            sys.exit(
                f"error: --config.{given[1]} is no key of the configuration"
                + (f"; did you mean one of {near}?" if near else "")
                + " (aftrans_jax/config.py lists all keys)"
            )
    try:
        return app.parse_flags_with_usage(_with_recorded(argv))
    except (OSError, ValueError) as error:  # from reading the configuration or the record
        sys.exit(f"error: {error}")
