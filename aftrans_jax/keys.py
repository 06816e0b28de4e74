"""The keys of a configuration as commands speak of them: their help, and what a wrong one means."""

import difflib
import inspect
import re
import textwrap
from collections.abc import Mapping
from types import MappingProxyType

from ml_collections import ConfigDict

from aftrans_jax.config import Config, base_config

COLUMNS = 100
_TEXT_COLUMN = 34  # where the help of a key begins

# What other programs of the field call these keys -> what to set here.
SYNONYMS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("lr", "base_lr", "max_lr"), "train.learning_rate"),
        **dict.fromkeys(("bs", "batch", "batch_size", "train_batch_size"), "train.batch_size"),
        **dict.fromkeys(("num_steps", "total_steps", "max_steps"), "train.steps"),
        **dict.fromkeys(("num_epochs", "max_epochs"), "train.epochs"),
        **dict.fromkeys(("warmup", "warmup_epochs", "warmup_ratio"), "train.warmup_steps"),
        **dict.fromkeys(("opt", "optim"), "train.optimizer"),
        "wd": "train.weight_decay",
        **dict.fromkeys(("llrd", "layerwise_lr_decay"), "train.layer_decay"),
        **dict.fromkeys(("freeze", "freeze_backbone", "linear_probe"), "train.trainable"),
        **dict.fromkeys(("ema_decay", "model_ema", "model_ema_decay"), "train.ema"),
        **dict.fromkeys(("early_stop", "early_stopping"), "train.patience"),
        **dict.fromkeys(("grad_clip", "clip_grad", "max_grad_norm"), "train.clip_norm"),
        **dict.fromkeys(("accum", "grad_accum", "grad_accum_steps"), "train.accumulation_steps"),
        **dict.fromkeys(("grad_checkpointing", "gradient_checkpointing"), "model.remat"),
        "fsdp": "train.sharding",
        **dict.fromkeys(("amp", "fp16", "bf16", "dtype", "half"), "train.precision"),
        **dict.fromkeys(("lambda", "lam", "keep_rate", "threshold"), "sacm.keep_ratio"),
        **dict.fromkeys(("arch", "backbone", "model_type"), "model.variant"),
        **dict.fromkeys(("slide_step", "patch_stride"), "model.stride"),
        **dict.fromkeys(("drop_path", "drop_path_rate"), "model.stochastic_depth"),
        **dict.fromkeys(("drop", "drop_rate"), "model.dropout"),
        **dict.fromkeys(("img_size", "input_size", "resolution"), "data.image_size"),
        "crop_size": "data.local_size",
        **dict.fromkeys(("dataset", "data_set"), "data.name"),
        **dict.fromkeys(("root", "data_dir", "data_path", "data_root", "data"), "data.dir"),
        **dict.fromkeys(("workers", "num_workers", "dataloader_num_workers"), "data.num_threads"),
        **dict.fromkeys(("val_split", "val_fraction"), "data.validation_fraction"),
        **dict.fromkeys(("aa", "auto_augment", "randaug"), "data.augment"),
        **dict.fromkeys(("mixup", "cutmix", "mixup_prob"), "data.mixing"),
        **dict.fromkeys(("mixup_alpha", "cutmix_alpha"), "data.mixing_strength"),
        **dict.fromkeys(("reprob", "random_erasing"), "data.erasing"),
        **dict.fromkeys(("ckpt", "checkpoint", "weights", "pretrained_dir"), "pretrained"),
        **dict.fromkeys(("eval_every", "eval_interval", "eval_steps"), "eval.every"),
        **dict.fromkeys(("log_every", "log_interval", "logging_steps"), "train.report_every"),
        **dict.fromkeys(("save_interval", "save_steps"), "train.save_every"),
        **dict.fromkeys(("tta", "test_time_augmentation"), "eval.mirror"),
    }
)


def key_helps() -> dict[str, str]:
    """Returns what each key is, and each group of keys before its own, in their order.

    It is the comment above and beside the key in config.py, up to `Choice:` or `Paper:`.
    """
    found: dict[str, str] = {}
    above: list[str] = []  # lines of comment before the key
    for line in inspect.getsource(base_config).splitlines():
        if comment := re.match(r"\s+# (.*)", line):
            above.append(comment[1])
            continue
        if key := re.match(r"\s+config\.([\w.]+) = .*?(?:  # (.*))?$", line):
            text = re.split(r"(?:Choice|Paper): ", " ".join([*above, key[2] or ""]))[0]
            text = text.strip().removesuffix(".")
            found[key[1]] = text[:1].upper() + text[1:]
        above = []
    return found


def entry(start: str, text: str) -> list[str]:
    """Returns an option and its help as lines, beside each other or below, as argparse has them."""
    margin = " " * _TEXT_COLUMN
    lines = textwrap.wrap(
        text.replace(" |", "\xa0|"),  # no line begins with a bar
        COLUMNS,
        initial_indent=margin,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    )
    lines = [line.replace("\xa0", " ") for line in lines]
    if len(start) + 2 < _TEXT_COLUMN:
        return [f"  {start}{lines[0][len(start) + 2 :]}", *lines[1:]]
    return [f"  {start}", *lines]


def listed(settings: Config) -> list[str]:
    """Returns the lines that list every key of a configuration with its value and its help."""
    lines = []
    for key, text in key_helps().items():
        if isinstance(settings[key], ConfigDict):
            lines += ["", f"{key}: {text[:1].lower()}{text[1:]}"]
        else:
            lines += entry(f"{key}={settings[key]}", text)
    return lines


def known_keys() -> list[str]:
    """Returns every key, with its group."""
    groups = base_config().to_dict()
    return [
        f"{name}.{key}" if isinstance(group, dict) else name
        for name, group in groups.items()
        for key in (group if isinstance(group, dict) else [name])
    ]


def suggestions(key: str) -> list[str]:
    """Returns the keys that an unknown one may mean: what the field calls so, then near names."""
    keys = known_keys()
    last = key.rpartition(".")[2].lower().replace("-", "_")
    meant = [SYNONYMS[last]] if last in SYNONYMS else []
    named = [known for known in keys if known.rpartition(".")[2] == last]
    return list(dict.fromkeys([*meant, *named, *difflib.get_close_matches(key, keys)]))


def no_key(key: str) -> str:
    """Returns what is said of an unknown key, after "is", with those that it may mean."""
    near = ", ".join(suggestions(key))
    hint = f"; did you mean one of {near}?" if near else ""
    return f"no key of the configuration{hint} (--help lists all keys)"
