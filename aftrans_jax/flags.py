"""The flag `--config` of the commands that take a configuration, and its error messages."""

import difflib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from absl import flags
from ml_collections import config_flags

from aftrans_jax import configs
from aftrans_jax.config import Config, base_config, expand_paths, get_config_of, packaged
from aftrans_jax.paths import expand

CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "A file in configs/, of the working directory or else of the package. Any key of "
    "aftrans_jax/config.py is set by --config.KEY=VALUE, for example --config.train.steps=90.",
    lock_config=True,
)


# What other programs of the field call these keys -> what to set here.
SYNONYMS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("lr", "learning_rate", "base_lr", "max_lr"), "train.learning_rate"),
        **dict.fromkeys(("bs", "batch", "batch_size", "train_batch_size"), "train.batch_size"),
        **dict.fromkeys(("num_steps", "total_steps", "max_steps"), "train.steps"),
        **dict.fromkeys(("epochs", "num_epochs", "max_epochs"), "train.epochs"),
        **dict.fromkeys(("warmup", "warmup_steps", "warmup_epochs"), "train.warmup_steps"),
        **dict.fromkeys(("opt", "optim", "optimizer"), "train.optimizer"),
        **dict.fromkeys(("wd", "weight_decay"), "train.weight_decay"),
        **dict.fromkeys(("llrd", "layer_decay", "layerwise_lr_decay"), "train.layer_decay"),
        **dict.fromkeys(("freeze", "freeze_backbone", "linear_probe"), "train.trainable"),
        **dict.fromkeys(("ema", "ema_decay", "model_ema_decay"), "train.ema"),
        **dict.fromkeys(("patience", "early_stop", "early_stopping"), "train.patience"),
        **dict.fromkeys(("grad_clip", "clip_grad", "max_grad_norm"), "train.clip_norm"),
        **dict.fromkeys(("accum", "grad_accum", "grad_accum_steps"), "train.accumulation_steps"),
        **dict.fromkeys(("amp", "fp16", "bf16", "dtype", "half"), "train.precision"),
        **dict.fromkeys(("lambda", "lam", "keep_rate", "threshold"), "sacm.keep_ratio"),
        **dict.fromkeys(("arch", "backbone", "model_type"), "model.variant"),
        **dict.fromkeys(("slide_step", "patch_stride"), "model.stride"),
        **dict.fromkeys(("drop_path", "drop_path_rate"), "model.stochastic_depth"),
        **dict.fromkeys(("drop", "drop_rate"), "model.dropout"),
        **dict.fromkeys(("img_size", "image_size", "input_size", "resolution"), "data.image_size"),
        **dict.fromkeys(("crop_size", "local_size"), "data.local_size"),
        **dict.fromkeys(("dataset", "data_set"), "data.name"),
        **dict.fromkeys(("root", "data_dir", "data_path", "data_root", "data"), "data.dir"),
        **dict.fromkeys(("workers", "num_workers"), "data.num_threads"),
        **dict.fromkeys(("val_split", "val_fraction"), "data.validation_fraction"),
        **dict.fromkeys(("ckpt", "checkpoint", "weights", "pretrained_dir"), "pretrained"),
        **dict.fromkeys(("eval_every", "eval_interval"), "eval.every"),
        **dict.fromkeys(("log_every", "log_interval"), "train.report_every"),
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
    found, rest = argv[:1], iter(argv[1:])
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
      ValueError: the file of a configuration has no `get_config()`.
    """
    given, colon, argument = name.partition(":")
    folder = Path(configs.__path__[0])
    path, folders = packaged(Path(given), folder), {"config": folder, "study": folder / "studies"}
    if not path.is_file():
        files = sorted(folders[flag].glob("[!_]*.py"))
        names = [f"configs/{file.relative_to(folder).as_posix()}" for file in files]
        kind = "configuration" if flag == "config" else "study"
        raise FileNotFoundError(
            f"--{flag}={given} is no file: expected the path of one, or a {kind} of the "
            f"package: {', '.join(names)}"
        )
    if flag == "config":
        get_config_of(path)
    return f"{path}{colon}{argument}"


def unchanged_config() -> tuple[str, Config]:
    """Returns the name of what `--config` gives, such as "cub", and it before the keys are set."""
    path, colon, argument = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    name = "-".join([Path(path).stem, *argument.split("=")[1:]])  # cub-transfg, for one
    return name, get_config_of(Path(path))(*([argument] if colon else []))


def key_lines() -> Iterator[str]:
    """Yields every key as `--config.KEY=DEFAULT`, with its comment in config.py."""
    settings = base_config()
    above: list[str] = []  # lines of comment before the key
    for line in inspect.getsource(base_config).splitlines():
        if comment := re.match(r"\s+# (.*)", line):
            above.append(comment[1])
            continue
        found = re.match(r"\s+config\.([\w.]+) = (?!ConfigDict)(?:.*?)(?:  # (.*))?$", line)
        if found:
            start = f"  --config.{found[1]}={settings[found[1]]}"
            text = " ".join([*above, found[2] or ""]).strip()
            yield f"{start:<42} {text}" if text else start
        above = []


def _known_keys() -> list[str]:
    settings = base_config().to_dict()
    groups = {name: group for name, group in settings.items() if isinstance(group, dict)}
    keys = [f"{name}.{key}" for name, group in groups.items() for key in group]
    return keys + sorted(settings.keys() - groups.keys())


def _suggestions(key: str, keys: list[str]) -> list[str]:
    """Returns the keys that an unknown one may mean: what the field calls so, then near names."""
    last = key.rpartition(".")[2].lower().replace("-", "_")
    meant = [SYNONYMS[last]] if last in SYNONYMS else []
    named = [known for known in keys if known.rpartition(".")[2] == last]
    return list(dict.fromkeys([*meant, *named, *difflib.get_close_matches(key, keys)]))


def _check_keys(argv: list[str]) -> None:
    """Raises ValueError where a key is unknown; ml_collections would name its last part alone."""
    keys = _known_keys()
    for key in given_keys(argv):
        if key not in keys:
            near = ", ".join(_suggestions(key, keys))
            raise ValueError(
                f"--config.{key} is no key of the configuration"
                + (f"; did you mean one of {near}?" if near else "")
                + " (--help lists all keys)"
            )


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


def parse_flags(argv: list[str], *, needs_config: bool = True) -> list[str]:
    """Returns the name of the program, all that is left once flags are parsed.

    Exits with 1 and one line where a flag, a key or the configuration's file is unknown, or there
    is no configuration though one is needed, and with 0 after printing what there is, where --help
    asks for it.
    """
    if {"--help", "-h", "-help"} & set(argv[1:]):
        print(f"{sys.modules['__main__'].__doc__}\nflags:")
        for flag in flags.FLAGS.get_key_flags_for_module("__main__"):
            print(f"  --{flag.name}: {flag.help}")
        print("\nkeys, with the defaults of aftrans_jax/config.py, of which configs/ change some:")
        print("\n".join(key_lines()))
        sys.exit(0)
    try:
        _check_keys(argv)
        rest = flags.FLAGS(_find_configs(_with_recorded(canonical(argv))))
        if CONFIG.value is not None:
            expand_paths(CONFIG.value)
        elif needs_config:
            run = ", or the --workdir of a run" if "workdir" in flags.FLAGS else ""
            raise ValueError(
                "no configuration is given: give --config=configs/folder.py, or another of "
                f"configs/{run} (--help lists all)"
            )
        if len(rest) > 1:
            raise ValueError(f"unexpected arguments {rest[1:]}: every option is a --flag=value")
        return rest
    except flags.UnrecognizedFlagError as error:
        near = [f"--config.{key}" for key in _suggestions(error.flagname, _known_keys())]
        near += difflib.get_close_matches(f"--{error.flagname}", [f"--{f}" for f in flags.FLAGS])
        hint = f"; did you mean one of {', '.join(near)}?" if near else ""
        sys.exit(f"error: --{error.flagname} is no flag{hint} (--help lists all)")
    except (OSError, ValueError, flags.Error) as error:
        sys.exit(f"error: {_plain(str(error))}")


def _plain(text: str) -> str:
    """Returns a message without absl's tuple or ml_collections' traceback."""
    if "Traceback" not in text:
        return re.sub(r"\('Non-boolean argument.*\)$", "expected true or false", text)
    head, last = text.partition(": Error whilst")[0], text.strip().splitlines()[-1]
    return f"{head}: {last.partition(': ')[2] or last}"
