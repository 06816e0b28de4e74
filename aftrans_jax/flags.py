"""The flag `--config` of the commands that take a configuration, and its error messages."""

import difflib
import re
import sys
import textwrap
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType

from absl import flags
from ml_collections import config_flags

from aftrans_jax import configs
from aftrans_jax.config import Config, base_config, expand_paths
from aftrans_jax.config_files import check_argument, failures_named, get_config_of, packaged
from aftrans_jax.keys import COLUMNS, entry, known_keys, listed, no_key, suggestions
from aftrans_jax.paths import expand

CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "A file in configs/, of the working directory or else of the package. Any key of "
    "aftrans_jax/config.py is set by --config.KEY=VALUE, for example --config.train.steps=90.",
    lock_config=True,
)


_HELP = {"--help", "-help", "-h"}
# By what absl and Python say of a value.
_EXPECTED: Mapping[str, str] = MappingProxyType(
    {
        r"\('Non-boolean argument": "true or false",
        r"invalid literal for int\(\)": "a whole number, such as 1000",
        "could not convert string to float": "a number, such as 0.1",
    }
)
_PATHS = ("workdir", "write", "study", "config")


def given_keys(argv: list[str]) -> list[str]:
    """Returns the keys of the configuration that are set on a command line, in its order."""
    matches = (re.match(r"--?(?:no)?config\.([^=]*)", argument) for argument in argv[1:])
    return [match[1] for match in matches if match]


def canonical(argv: list[str]) -> list[str]:
    """Returns the arguments with each flag that takes a path as `--NAME=PATH`.

    `~` and `$VARIABLE` are replaced. A last flag that lacks its path stays, for absl to refuse.

    Raises:
      ValueError: a path is empty, or see `paths.expand`.
    """
    found = argv[:1]
    rest = iter(argv[1:])
    for argument in rest:
        flag, equals, path = argument.partition("=")
        name = flag.lstrip("-")
        if name in _PATHS and flag in (f"-{name}", f"--{name}"):
            given = path if equals else next(rest, None)
            if given == "":  # as of a shell's variable that is not set
                raise ValueError(f"{flag}= is empty: expected a path; or leave the flag out")
            argument = flag if given is None else f"--{name}={expand(given)}"
        found.append(argument)
    return found


def path_given(argv: list[str], name: str) -> str | None:
    """Returns the path that a flag of `canonical` arguments has, None where it is not given."""
    start = f"--{name}="
    given = [argument.removeprefix(start) for argument in argv if argument.startswith(start)]
    return given[-1] if given else None


def _with_recorded(argv: list[str]) -> list[str]:
    """Returns the arguments with the record of --workdir as --config, where none is given."""
    workdir = path_given(argv, "workdir")
    if workdir is None or path_given(argv, "config") is not None:
        return argv
    record = Path(__file__).with_name("workdir") / "recorded_config.py"
    get_config_of(record)(workdir)  # raises what ml_collections would hide
    return [argv[0], f"--config={record}:{workdir}", *argv[1:]]


def find_config(name: str, flag: str = "config") -> str:
    """Returns where a configuration or a study lies: the file of that name, or the package's own.

    Args:
      name: what follows `--config=`, such as "configs/cub.py" or "configs/cub.py:recipe=transfg",
        or `--study=`, such as "configs/studies/table6.py".
      flag: "config" or "study", for the message.

    Raises:
      FileNotFoundError: there is neither.
      ValueError: the file of a configuration has no `get_config()`, or it takes no argument.
    """
    given, colon, argument = name.partition(":")
    folder = Path(configs.__path__[0])
    path = packaged(Path(given), folder)
    folders = {"config": folder, "study": folder / "studies"}
    if not path.is_file():
        files = sorted(folders[flag].glob("[!_]*.py"))
        names = [f"configs/{file.relative_to(folder).as_posix()}" for file in files]
        kind = "configuration" if flag == "config" else "study"
        raise FileNotFoundError(
            f"--{flag}={given} is no file: expected the path of one, or a {kind} of the "
            f"package: {', '.join(names)}"
        )
    if flag == "config":
        get = get_config_of(path)
        if colon:
            check_argument(get, given, argument)
    return f"{path}{colon}{argument}"


def unchanged_config() -> tuple[str, Config]:
    """Returns the name of what `--config` gives, such as "cub", and it before the keys are set."""
    path, colon, argument = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    name = "-".join([Path(path).stem, *argument.split("=")[1:]])  # cub-transfg, for one
    return name, get_config_of(Path(path))(*([argument] if colon else []))


def _check_keys(argv: list[str]) -> None:
    """Raises ValueError where a key is unknown; ml_collections would name its last part alone."""
    keys = known_keys()
    for key in given_keys(argv):
        if key not in keys:
            raise ValueError(f"--config.{key} is {no_key(key)}")


def _find_configs(argv: list[str]) -> list[str]:
    """Returns the arguments with the path of the configuration in the place of its name."""
    start = "--config="
    given = [argument for argument in argv if argument.startswith(start)]
    if len(given) > 1:
        raise ValueError(
            f"{' '.join(given)}: expected one configuration; its keys are set by --config.KEY=VALUE"
        )
    return [
        f"{start}{find_config(argument.removeprefix(start))}"
        if argument.startswith(start)
        else argument
        for argument in argv
    ]


def parse_flags(
    argv: list[str],
    *,
    needs_config: bool = True,
    with_own: Callable[[list[str]], list[str]] = _with_recorded,
) -> list[str]:
    """Returns the name of the program, all that is left once flags are parsed.

    Exits with 1 and one line where a flag, a key or the configuration's file is unknown, or there
    is no configuration though one is needed, and with 0 after printing what there is, where --help
    asks for it.

    Args:
      argv: the program's name and its arguments.
      needs_config: whether the command does nothing without a configuration.
      with_own: returns `canonical` arguments with a --config where none is given and another flag
        implies one.
    """
    if _HELP & set(argv[1:]):
        _print_help([argument for argument in argv if argument not in _HELP], with_own)
        sys.exit(0)
    try:
        rest = _parsed(argv, with_own)
        if CONFIG.value is None and needs_config:
            run = ", or the --workdir of a run" if "workdir" in flags.FLAGS else ""
            raise ValueError(
                "no configuration is given: give --config=configs/folder.py, or another of "
                f"configs/{run} (--help lists all)"
            )
        if len(rest) > 1:
            raise ValueError(f"unexpected arguments {rest[1:]}: every option is a --flag=value")
        return rest
    except (OSError, ValueError, flags.Error) as error:
        sys.exit(f"error: {_said(error)}")


def _parsed(argv: list[str], with_own: Callable[[list[str]], list[str]]) -> list[str]:
    """Parses the flags; returns what is left."""
    _check_keys(argv)
    arguments = _find_configs(with_own(canonical(argv)))
    path = Path(path_given(arguments, "config") or "--config")
    expected = "get_config() to return a configuration with all keys, as in configs/demo.py"
    with (
        failures_named(path, expected, but=(OSError, ValueError, flags.Error)),
        warnings.catch_warnings(),
    ):
        # By a way to load the file that Python means to give up, which filters may make an error.
        warnings.filterwarnings("ignore", "the load_module", DeprecationWarning)
        rest = flags.FLAGS(arguments)
        if CONFIG.value is not None:
            expand_paths(CONFIG.value)
            _let_decide(CONFIG.value, given_keys(argv))
    return rest


def _let_decide(config: Config, given: Collection[str]) -> None:
    """Sets the steps of the configuration to 0 where epochs alone are given, and vice versa."""
    train = config.train
    decides = {"train.steps", "train.epochs"}.intersection(given)
    if decides == {"train.epochs"} and train.epochs:
        train.steps = 0
    if decides == {"train.steps"} and train.steps:
        train.epochs = 0.0


def _print_help(argv: list[str], with_own: Callable[[list[str]], list[str]]) -> None:
    """Prints the flags, and the keys with the values that these arguments give them."""
    print(f"{sys.modules['__main__'].__doc__}\nflags:")
    for flag in flags.FLAGS.get_key_flags_for_module("__main__"):
        print("\n".join(entry(f"--{flag.name}", flag.help)))
    lines = listed(base_config())
    source = "aftrans_jax/config.py"
    note = []
    try:
        _parsed(argv, with_own)
        if CONFIG.value is not None:
            lines = listed(CONFIG.value)
            source = _source(canonical(argv))
    except (OSError, ValueError, KeyError, flags.Error) as error:  # KeyError: it lacks a key
        said = f"what this command gives cannot be read: {_said(error)}"
        note = ["", *textwrap.wrap(said, COLUMNS)]
    print(f"\nkeys (--config.KEY=VALUE), as in {source}:")
    print("\n".join([*note, "", *lines]))


def _source(argv: list[str]) -> str:
    """Returns where `canonical` arguments have the values of the keys from."""
    given = {name: path_given(argv, name) for name in ("config", "study", "workdir")}
    unseen = ("config", config_flags.get_config_filename(flags.FLAGS["config"]))  # in a flagfile
    name, path = next(((name, path) for name, path in given.items() if path is not None), unseen)
    keys = ", but for those given here" if given_keys(argv) else ""
    return f"{'the record of ' if name == 'workdir' else ''}{path}{keys}"


def _said(error: Exception) -> str:
    """Returns what is said of flags that cannot be parsed."""
    if not isinstance(error, flags.UnrecognizedFlagError):
        return _plain(str(error))
    near = [f"--config.{key}" for key in suggestions(error.flagname)]
    near += difflib.get_close_matches(f"--{error.flagname}", [f"--{f}" for f in flags.FLAGS])
    hint = f"; did you mean one of {', '.join(near)}?" if near else ""
    return f"--{error.flagname} is no flag{hint} (--help lists all)"


def _plain(text: str) -> str:
    """Returns a message without Python's words, absl's tuple or ml_collections' traceback."""
    if "Traceback" not in text:
        for words, expected in _EXPECTED.items():
            text = re.sub(f"{words}.*$", f"expected {expected}", text)
        return text
    last = text.strip().splitlines()[-1]
    return f"{text.partition(': Error whilst')[0]}: {last.partition(': ')[2] or last}"
