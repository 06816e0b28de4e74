"""Configurations: every key is read, every read key exists, every value is checked."""

import ast
import importlib
import inspect
import re
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from ml_collections import ConfigDict

from aftrans_jax import configs, main
from aftrans_jax.config import base_config
from aftrans_jax.experiment import (
    agreement,
    auto_settings,
    batches,
    checks,
    data,
    model,
    optimization,
    recipe,
)
from aftrans_jax.experiment import build as building
from aftrans_jax.experiment.auto_settings import resolve_auto
from aftrans_jax.experiment.build import build
from aftrans_jax.experiment.data import READERS
from aftrans_jax.experiment.model import MODELS, build_model, predicting_head
from aftrans_jax.experiment.optimization import build_optimizer, rate_notes
from aftrans_jax.experiment.recipe import check_evaluations
from aftrans_jax.inference import trained_model
from aftrans_jax.key_groups import LEFT_TO_WEIGHTS, is_left
from aftrans_jax.model.variants import VARIANTS, Variant
from aftrans_jax.run import baseline, evaluation, launch, report_images, sessions, training
from aftrans_jax.studies import plan, probe_rows
from aftrans_jax.training.metrics import prediction_logits
from aftrans_jax.training.precision import PRECISIONS
from aftrans_jax.workdir import setting_changes

CONFIGS = sorted(path.stem for path in Path(configs.__path__[0]).glob("[!_]*.py"))


def words(text: str) -> list[str]:
    return text.split()


# The contract of the command line: other programs rely on these names.
CONTRACT = words("""
    model.name model.variant model.stride model.gelu pretrained data.name data.dir data.image_size
    data.local_size data.mean data.std sacm.keep_ratio sacm.head_fusion sacm.selection
    sacm.descriptor sacm.gate sacm.reduction region.method loss.alpha loss.beta train.steps
    train.batch_size train.learning_rate train.warmup_steps train.precision eval.logits seed
""")
CONTRACT_CHOICES = {
    "model.name": "aftrans vit transfg rams",
    "model.variant": "ti16 s16 b16 b32 l16 l32 h14",
    "model.gelu": "tanh exact",
    "region.method": "largest_component extreme_values",
    "train.precision": "auto bfloat16 float16 float32",
    "eval.logits": "auto global local sum",
}


def leaves(config, prefix="") -> dict:
    found = {}
    for key, value in config.items():
        nested = isinstance(value, ConfigDict)
        found |= leaves(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return found


KEYS = leaves(base_config())


def base() -> ConfigDict:
    """The base configuration with what it leaves to the weights, of which there are none."""
    return resolve_auto(base_config())[0]


def changed(**values) -> ConfigDict:
    """The base configuration with `group__key` set."""
    config = base()
    for name, value in values.items():
        with config.unlocked():
            config.update_from_flattened_dict({name.replace("__", "."): value})
    return config


def tiny_config(**values) -> ConfigDict:
    small = {
        "model__stride": 8,
        "data__name": "synthetic",
        "data__image_size": 16,
        "data__source_size": 16,
        "data__local_size": 16,
        "data__num_train": 4,
        "data__num_test": 4,
        "data__num_threads": 0,
        "region__min_box": 8,
        "train__batch_size": 4,
        "sacm__reduction": 1,
    }
    return changed(**small | values)


@pytest.fixture
def tiny_variant(monkeypatch):
    """Makes every variant a tiny one."""
    tiny = dict.fromkeys(VARIANTS, Variant(8, 8, 8, 2, 2))
    monkeypatch.setattr(model, "VARIANTS", tiny)
    monkeypatch.setattr(checks, "VARIANTS", tiny)


# ---------------------------------------------------------------------------------------- the keys


def test_the_contract_s_keys_exist():
    assert set(CONTRACT) <= KEYS.keys()
    for key, names in CONTRACT_CHOICES.items():
        assert set(names.split()) <= set(checks.CHOICES[key])


class Recorder:
    """A configuration that notes which of its values are read."""

    def __init__(self, config: ConfigDict, read: set[str], prefix: str = "") -> None:
        self._config, self._read, self._prefix = config, read, prefix

    def __getattr__(self, name: str):
        value = getattr(self._config, name)  # AttributeError where there is no such key
        if isinstance(value, ConfigDict):
            return Recorder(value, self._read, f"{self._prefix}{name}.")
        if name in self._config:
            self._read.add(self._prefix + name)
        return value

    __getitem__ = __getattr__


def test_build_and_the_run_read_every_key(tiny_variant, monkeypatch):
    """Without `check`, which reads nearly all of them by itself: what counts is to be used."""
    monkeypatch.setattr(building, "check", lambda config, **rules: None)
    read: set[str] = set()
    config = Recorder(tiny_config(data__dir="nowhere"), read)
    built = build(config)
    built.train_batches(0)
    for name in READERS.keys() - {"synthetic", "tfds:NAME"}:
        with pytest.raises(FileNotFoundError):
            READERS[name](config.data, None)
    read.update(*map(keys_read, RUN))
    # Epochs are read where steps are left to them, see test_auto_settings.py.
    assert KEYS.keys() - read == {"train.epochs"}


RUN = (sessions, report_images, training, evaluation)
TABLES = (agreement, baseline, plan, probe_rows, setting_changes)
READING = (auto_settings, batches, building, checks, data, launch, model, optimization, recipe)


def attribute_chain(node: ast.AST) -> list[str] | None:
    names = []
    while isinstance(node, ast.Attribute):
        names, node = [node.attr, *names], node.value
    return [node.id, *names] if isinstance(node, ast.Name) else None


def keys_read(module) -> list[str]:
    """What is read of `config`, `experiment.config` or `data`, as far as a line tells."""
    found = []
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        chain = attribute_chain(node) or []
        if "config" in chain[:-1]:
            found.append(".".join(chain[chain.index("config") + 1 :]))
        elif chain[:1] == ["data"] and len(chain) > 1:
            found.append(".".join(chain))
    return [key for key in found if key != "to_dict"]  # of the whole configuration


@pytest.mark.parametrize("module", [*READING, *RUN, trained_model])
def test_no_key_is_read_that_does_not_exist(module):
    """Covers all paths through the code, including those that no test takes."""
    groups = {key.split(".")[0] for key in KEYS}
    for key in (found := keys_read(module)):
        # What follows a key is a method of its value.
        assert key in groups or any(f"{key}.".startswith(f"{known}.") for known in KEYS), key
    assert len(found) >= 2


@pytest.mark.parametrize("module", [*READING, *RUN, *TABLES, trained_model])
def test_no_key_is_named_that_does_not_exist(module):
    """A key in a table of another name would not be what the table says of it."""
    groups = {key.split(".")[0] for key in KEYS}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if (
            is_text
            and node.value.partition(".")[0] in groups
            and re.fullmatch(r"\w+\.\w+=?", node.value)
        ):
            assert node.value.rstrip("=") in KEYS, node.value


def get_configs():
    for name in CONFIGS:
        get_config = importlib.import_module(f"aftrans_jax.configs.{name}").get_config
        yield pytest.param(get_config, id=name)
        if inspect.signature(get_config).parameters:
            for argument in ("recipe=paper", "recipe=transfg"):
                yield pytest.param(partial(get_config, argument), id=f"{name}:{argument}")


@pytest.mark.parametrize("get_config", list(get_configs()))
def test_configs_are_locked_and_have_the_base_keys(get_config):
    config = get_config()
    assert config.is_locked
    assert leaves(config).keys() == KEYS.keys()
    types = {key: type(value) for key, value in leaves(config).items()}
    assert types == {key: type(value) for key, value in KEYS.items()}
    config.pretrained = ""
    checks.check(resolve_auto(config)[0], num_devices=1)


# Training and test images, as published; of a folder of photos, a fifth is kept for the test.
SPLITS = {
    "cub": (5994, 5794),
    "cars": (8144, 8041),
    "dogs": (12_000, 8580),
    "nabirds": (23_929, 24_633),
    "inat17": (579_184, 95_986),
    "folder": (400, 100),
    "synthetic": (base_config().data.num_train, base_config().data.num_test),
}


@pytest.mark.parametrize("get_config", list(get_configs()))
def test_configs_train_an_epoch_and_evaluate_fewer_images_than_they_train_on(get_config):
    """10,000 steps of 12 were 0.2 epochs of iNat, and 10 evaluations on the way 8 times that."""
    config = get_config()
    num_train, num_test = SPLITS[config.data.name]
    config = auto_settings.with_steps(config, num_train)
    num_read = config.train.steps * config.train.batch_size
    before_the_end = (config.train.steps - 1) // config.eval.every
    assert num_read >= num_train
    assert before_the_end * num_test <= num_read


@pytest.mark.parametrize(
    ("name", "sizes", "augment", "rate"),
    [
        ("cub", (600, 448), "none", 0.03),
        ("cars", (600, 448), "autoaugment", 0.03),
        ("dogs", (600, 448), "none", 0.003),
        ("nabirds", (600, 448), "none", 0.03),
        ("inat17", (400, 304), "autoaugment", 0.01),
    ],
)
def test_the_recipes_are_the_published_ones(name, sizes, augment, rate):
    """TransFG's `get_loader` and the learning rates of its paper, section 4.1."""
    get_config = importlib.import_module(f"aftrans_jax.configs.{name}").get_config
    paper, transfg, ours = (get_config(name) for name in ("recipe=paper", "recipe=transfg", ""))
    resize, size = sizes
    assert data.image_sizes(transfg) == {"image_size": size, "resize_size": resize}
    assert data.image_sizes(paper) == {"image_size": 448, "resize_size": 448}  # section 3.2
    assert (paper.data.image_size, paper.data.local_size, paper.model.stride) == (448, 224, 12)
    assert (paper.sacm.keep_ratio, paper.eval.logits) == (0.4, "global")
    assert all(is_left(key, leaves(ours)[key]) for key in LEFT_TO_WEIGHTS)
    assert ours.eval.logits == "auto"
    assert (transfg.data.augment, paper.data.augment) == (augment, "none")
    assert transfg.train.learning_rate == paper.train.learning_rate == rate
    assert (paper.train.batch_size, transfg.train.batch_size) == (12, 64)
    with pytest.raises(ValueError, match=r"'recipe=transgf' is no recipe: expected .*transfg"):
        get_config("recipe=transgf")


def test_the_base_configuration_is_sound_and_fresh():
    checks.check(base(), num_devices=4)
    sizes = data.image_sizes(base())
    assert sizes["image_size"] == sizes["resize_size"]  # no crop, as data.crop's help says
    assert sizes == data.image_sizes(base(), trains=True)
    base_config().train.steps = 1
    assert base_config().train.steps == 10_000
    with pytest.raises(AttributeError, match="nosuch"):
        base_config().train.nosuch = 1


def test_evaluations_may_see_more_of_a_photo_than_the_training():
    config = base()
    config.data.resize_ratio = 1.5
    trained = data.image_sizes(config, trains=True)
    assert trained == data.image_sizes(config) == {"image_size": 448, "resize_size": 672}
    config.eval.resize_ratio = 1.0
    assert data.image_sizes(config) == {"image_size": 448, "resize_size": 448}
    assert data.image_sizes(config, trains=True) == trained


# --------------------------------------------------------------------------------- the command line


def parse(monkeypatch, *arguments: str) -> ConfigDict:
    argv = ["main", "--config=configs/demo.py", *arguments]
    monkeypatch.setattr("sys.argv", argv)
    with flagsaver.flagsaver():
        main.parse_flags(argv)
        return flags.FLAGS.config


def test_values_are_taken_with_the_type_of_the_default(monkeypatch):
    config = parse(
        monkeypatch,
        "--config.train.steps=7",
        "--config.data.mean=(0.485,0.456,0.406)",
        "--noconfig.report.tensorboard",
        "--config.train.learning_rate=1",
        "--config.pretrained=",
        "--config.sacm.layers=(12,3)",
    )
    assert config.sacm.layers == (12, 3)
    assert (config.train.steps, config.pretrained) == (7, "")
    assert config.data.mean == (0.485, 0.456, 0.406)
    assert config.report.tensorboard is False
    assert isinstance(config.train.learning_rate, float)


def test_every_key_can_be_set(monkeypatch):
    others = {bool: lambda value: not value, tuple: lambda _: (0.1, 0.2, 3), str: "{}text".format}
    wanted = {k: others.get(type(v), lambda number: number + 1)(v) for k, v in KEYS.items()}
    texts = (f"--config.{key}={value}".replace(" ", "") for key, value in wanted.items())
    assert leaves(parse(monkeypatch, *texts)) == wanted


@pytest.mark.parametrize(
    ("argument", "near"),
    [
        ("nosuch=1", ""),
        ("train.nosuch=1", "train.epochs"),
        ("train.step=5", "train.steps"),
        ("steps=5", "train.steps"),
        ("data.image-size=5", "data.image_size"),
        ("nosuch.steps=5", "train.steps"),
        ("batch_size", "train.batch_size, eval.batch_size"),
        ("train={}", "train.steps"),
    ],
)
def test_an_unknown_key_is_named_with_those_like_it(monkeypatch, argument, near):
    with pytest.raises(SystemExit) as caught:
        parse(monkeypatch, f"--config.{argument}")
    message, key = caught.value.code, argument.partition("=")[0]
    assert message.startswith(f"error: --config.{key} is no key of the configuration")
    assert message.endswith("(--help lists all keys)")
    assert ("did you mean one of" in message) == bool(near)
    assert near in message


@pytest.mark.parametrize(
    "argument",
    ["train.steps=abc", "train.steps=1.5", "train.learning_rate=fast", "report.tensorboard=maybe"],
)
def test_a_value_of_the_wrong_type_is_named(monkeypatch, capsys, argument):
    with pytest.raises(SystemExit) as caught:
        parse(monkeypatch, f"--config.{argument}")
    assert caught.value.code.startswith(f"error: flag --config.{argument}: ")
    assert capsys.readouterr().err == ""


# ------------------------------------------------------------------------------------- the choices


def test_choices_are_the_tables_that_are_looked_up():
    assert {"cub", "cars", "dogs", "inat17", "nabirds", "folder", "csv"} < set(READERS)
    assert set(checks.CHOICES["model.name"]) == set(MODELS)


@pytest.mark.parametrize("key", sorted(checks.CHOICES))
def test_an_unknown_choice_lists_the_known(key):
    config = changed(**{key.replace(".", "__"): "nosuch"})
    listed = ", ".join(checks.CHOICES[key])
    with pytest.raises(ValueError, match=f"^{key}='nosuch' is unknown: choose one of {listed}$"):
        checks.check(config, num_devices=1)


def nth_choices(row: int, name: str) -> dict[str, str]:
    """The n-th choice of every key at once, so that few models are traced."""
    nth = {key: choices[row % len(choices)] for key, choices in checks.CHOICES.items()}
    if nth["loss.class_weights"] != "none":
        nth["data.sampling"] = "shuffle"  # they exclude each other
    # Both that run on a CPU; tests/model/test_attention.py has the others.
    return nth | {"model.name": name, "model.attention": ("auto", "xla")[row % 2]}


MOST = max(len(choices) for key, choices in checks.CHOICES.items() if key != "model.variant")
ROWS = [*(nth_choices(row, "aftrans") for row in range(MOST))]
ROWS += [nth_choices(0, name) for name in MODELS if name != "aftrans"]


def test_few_rows_hold_every_choice():
    for key, choices in checks.CHOICES.items():
        if key not in ("model.variant", "model.attention"):
            assert {row[key] for row in ROWS} == set(choices)
    for name, variant in VARIANTS.items():
        config = changed(model__variant=name, model__stride=variant.patch_size)
        checks.check(config, num_devices=1)
        assert build_model(config, 3, np.dtype("float32")).vit.variant == variant


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row.values()))
def test_each_choice_is_taken_where_it_is_used(tiny_variant, row):
    config = tiny_config(**{key.replace(".", "__"): value for key, value in row.items()})
    checks.check(config, num_devices=1, trains=config.region.method != "annotated")
    assert callable(READERS[config.data.name])
    model = build_model(config, 3, PRECISIONS[config.train.precision]().dtype)
    images = np.zeros((2, 16, 16, 3), np.uint8)

    def logits_of():
        params = model.init(jax.random.key(0), images, train=False)["params"]
        output = model.apply({"params": params}, images, train=False)
        return prediction_logits(output.logits)[predicting_head(config)]

    assert jax.eval_shape(logits_of).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "logits", "expected"),
    [
        ("aftrans", "auto", "local"),
        ("aftrans", "sum", "sum"),
        ("rams", "auto", "sum"),
        ("transfg", "auto", "global"),
        ("vit", "auto", "global"),
        ("vit", "sum", "global"),
    ],
)
def test_the_logits_that_answer(name, logits, expected):
    config = changed(model__name=name, eval__logits=logits)
    checks.check(config, num_devices=1)
    assert predicting_head(config) == expected


# -------------------------------------------------------------------------------------- the ranges

POSITIVE = words("""
    train.steps train.batch_size train.learning_rate train.clip_norm train.report_every
    train.save_every eval.batch_size sacm.reduction data.num_train data.num_test
    data.mixing_strength data.max_pixels
""")
NOT_NEGATIVE = words("""
    seed data.split_seed region.min_box loss.alpha loss.beta
    loss.distill loss.contrastive
    train.weight_decay train.patience eval.every report.num_images train.epochs
""")
RATES = words("""
    data.validation_fraction model.dropout model.stochastic_depth train.momentum train.ema
    data.erasing loss.label_smoothing
""")
FLOATS = [key for key, value in KEYS.items() if isinstance(value, float)]


def bad_values():
    for key in POSITIVE:
        yield (key, 0, "must be above 0")
    yield from ((key, -1, "must be at least 0") for key in NOT_NEGATIVE)
    for key in RATES:
        yield from ((key, value, r"must lie in \[0, 1\)") for value in (1.0, -0.1))
    for key in ("sacm.keep_ratio", "train.layer_decay"):
        yield from ((key, value, r"must lie in \(0, 1\]") for value in (0.0, 1.01))
    for value in (0.0, 1.0, 20.0):
        yield ("data.test_fraction", value, r"must lie in \(0, 1\)")
    yield ("train.trainable", "last:13", "must be last:K with K from 1 to 12")
    yield ("train.trainable", "neck", "is unknown: choose one of all, head, last:K, norms")
    for value in ((0,), (1, 2, 13), (3, 3), (1.5,), ("L3",)):
        yield (
            "sacm.layers",
            value,
            r"must be numbers from 1 to 12, .*such as --config.sacm.layers=",
        )
    for value in (-1, 1025):
        yield ("data.num_threads", value, r"must lie in \[0, 1024\]")
    for value in (0.99, 10.1, 1e6, float("inf")):
        yield ("data.resize_ratio", value, r"must lie in \[1, 10\]")
        yield ("eval.resize_ratio", value, r"must be 0, .* or lie in \[1, 10\]")
    for key in ("image_size", "source_size", "local_size"):
        yield (f"data.{key}", 8193, r"must lie in \[1, 8192\]")
    yield from ((key, float("nan"), "must") for key in FLOATS)
    # 123.675: of pixels up to 255.
    wrong = (123.675, float("inf"), -float("inf"), float("nan"))
    channels = ((0.5, 0.5, value) for value in wrong)
    for value in ((0.5,), (0.5,) * 4, ("a", "b", "c"), ("(a,b,c)",), *channels):
        yield from ((f"data.{key}", value, "must be three numbers") for key in ("mean", "std"))
    yield from (
        ("data.std", (0.5, value, 0.5), "must be three numbers") for value in (0, -1, 1e-50)
    )


def test_layers_are_numbers_of_the_variant():
    for variant, numbers in (("b16", (12, 1)), ("l16", (24,)), ("mini8", ())):
        stride = VARIANTS[variant].patch_size
        config = changed(sacm__layers=numbers, model__variant=variant, model__stride=stride)
        checks.check(config, num_devices=1)
    with pytest.raises(ValueError, match=r"sacm\.layers=\(7,\) must be .*from 1 to 6"):
        checks.check(changed(sacm__layers=(7,), model__variant="mini8"), num_devices=1)


@pytest.mark.parametrize(
    ("name", "weights", "keys"),
    [
        ("vit", {"loss__alpha": 0.0}, r"loss\.alpha = 0"),
        ("transfg", {"loss__alpha": 0.0, "loss__contrastive": 1.0}, r"loss\.alpha = 0"),
        ("aftrans", {"loss__alpha": 0.0, "loss__beta": 0.0}, r"loss\.alpha \+ loss\.beta = 0"),
    ],
)
def test_a_model_whose_branches_learn_nothing_is_refused(name, weights, keys):
    with pytest.raises(ValueError, match=f"^{keys}: model.name='{name}' would learn no classes"):
        checks.check(changed(model__name=name, **weights), num_devices=1)


NUMBERS = [key for key, value in KEYS.items() if type(value) is int]
FREE = words("pretrained data.dir data.supercategory train.trainable")  # the last is checked, too


def test_no_text_goes_unchecked():
    assert {key for key, value in KEYS.items() if isinstance(value, str)} == {
        *checks.CHOICES,
        *FREE,
    }


@pytest.mark.parametrize("key", NUMBERS)
def test_no_number_goes_unchecked(key):
    """`bad_values` does the same for `FLOATS`."""
    with pytest.raises(ValueError, match="-7"):
        checks.check(changed(**{key.replace(".", "__"): -7}), num_devices=1)


@pytest.mark.parametrize(("key", "value", "message"), list(bad_values()))
def test_a_value_out_of_range_is_named(key, value, message):
    config = base()
    group, _, name = key.rpartition(".")
    with config.ignore_type():
        setattr(config[group] if group else config, name, value)
    with pytest.raises(ValueError, match=f"^{key}=.*{message}"):
        checks.check(config, num_devices=1)


def test_epochs_out_of_range_are_named_where_steps_are_left_to_them():
    with pytest.raises(ValueError, match=r"^train\.epochs=-1\.0 must be at least 0"):
        checks.check(changed(train__steps=0, train__epochs=-1.0), num_devices=1)
    by_epochs = {"train__steps": 0, "train__epochs": 1.0}
    with pytest.raises(ValueError, match=r"^train\.warmup_steps=-2 .* below train\.steps: "):
        checks.check(changed(train__warmup_steps=-2, **by_epochs), num_devices=1)
    for warmup in (-1, 0, 900):
        checks.check(changed(train__warmup_steps=warmup, **by_epochs), num_devices=1)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, 1) for key in POSITIVE),
        *((key, 0) for key in NOT_NEGATIVE + RATES),
        ("sacm.keep_ratio", 1.0),
        ("train.layer_decay", 1.0),
        ("train.trainable", "last:12"),
        ("data.num_threads", 0),
        ("data.num_threads", 1024),
        ("data.resize_ratio", 1.0),
        ("data.resize_ratio", 10.0),
        ("data.std", (1 / 255, 1.0, 1)),
        ("data.mean", (0.0, 0, -1.0)),
        ("data.local_size", 16),  # one patch
        ("seed", 2**32 - 1),
    ],
)
def test_the_ends_of_a_range_are_taken(key, value):
    config = changed(train__warmup_steps=0)
    group, _, name = key.rpartition(".")
    with config.ignore_type():
        setattr(config[group] if group else config, name, value)
    checks.check(config, num_devices=1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"data__image_size": 450},
            "data.image_size=450 does not fit model.stride=16: 28 patches of 16 px cover 448 px; "
            "use 448 or 464, or another stride",
        ),
        (
            {"data__image_size": 464},
            "data.source_size=448 is below data.image_size=464: the global branch sees the source "
            "shrunk, never enlarged; raise it, or lower data.image_size",
        ),
        (
            {"data__local_size": 15},
            "data.local_size=15 is smaller than one patch of 16 px: raise it, or use a "
            "model.variant with smaller patches",
        ),
        (
            {"model__stride": 17},
            "model.stride=17 does not suit 16 px patches: use 1 to 16, or patches would not touch "
            "(the paper: 12 for patches of 16)",
        ),
        (
            {"data__image_size": 8},
            "image size 8 px is smaller than one 16 px patch: use at least 16 px or a variant with "
            "smaller patches",
        ),
        (
            {"train__batch_size": 14},
            "train.batch_size=14 cannot be split over 4 devices, in train.accumulation_steps=1 "
            "parts each: use --config.train.batch_size=16, or another multiple of 4; or, since a "
            "run keeps its batch, devices that divide it",
        ),
        (
            {"train__batch_size": 24, "train__accumulation_steps": 4},
            "train.batch_size=24 cannot be split over 4 devices, in train.accumulation_steps=4 "
            "parts each: use --config.train.batch_size=32, or another multiple of 16; or, since a "
            "run keeps its batch, devices that divide it",
        ),
        (
            {"model__attention": "cudnn"},
            "model.attention='cudnn' needs a CUDA GPU of compute capability 8.0 or later and "
            "bfloat16 or float16; this is cpu in float32: use --config.model.attention=auto",
        ),
        (
            {"data__name": "cub", "data__supercategory": "Aves"},
            "data.supercategory='Aves': data.name='cub' has none; leave it empty, or use "
            "--config.data.name=inat17",
        ),
        (
            {"region__method": "annotated"},
            "region.method='annotated' is for evaluation alone: train with another one, then "
            "evaluate with --mode=eval --workdir=... --config.region.method=annotated",
        ),
        (
            {"model__name": "rams", "region__method": "annotated"},
            "region.method='annotated' is for model.name='aftrans'; this run's is 'rams': leave it "
            "out",
        ),
        (
            {"model__name": "vit", "eval__logits": "local"},
            "eval.logits='local': model.name='vit' has global logits only; "
            "use --config.eval.logits=auto",
        ),
        (
            {"data__mixing": "cutmix", "loss__contrastive": 1.0},
            "data.mixing='cutmix' with loss.contrastive=1.0: a mixed image has two classes, so a "
            "pair of them is of no one class; use --config.data.mixing=none or "
            "--config.loss.contrastive=0",
        ),
        (
            {
                "model__name": "transfg",
                "loss__contrastive": 1.0,
                "train__accumulation_steps": 2,
                "train__batch_size": 8,
            },
            "loss.contrastive=1.0: a device takes the 8 images of a batch one by one, and "
            "compares none with another; raise train.batch_size, or lower "
            "train.accumulation_steps=2, to two at a time",
        ),
        (
            {"seed": 2**32},
            "seed=4294967296 must be below 2^32 = 4294967296: of a larger one, jax.random draws "
            "what seed=0 does",
        ),
        (
            {"data__mixing": "both", "train__batch_size": 4},
            "data.mixing='both': a device has 1 of the 4 images of a batch, and none to mix it "
            "with; raise train.batch_size to two a device or more, or use "
            "--config.data.mixing=none",
        ),
        (
            {"data__sampling": "balanced", "loss__class_weights": "inverse"},
            "loss.class_weights='inverse' with data.sampling='balanced': rare classes would count "
            "twice over; use --config.loss.class_weights=none or --config.data.sampling=shuffle",
        ),
        (
            {"model__name": "vit", "loss__distill": 0.5},
            "loss.distill=0.5: model.name='vit' has no local branch to teach the global one; "
            "use --config.loss.distill=0, or --config.model.name=aftrans",
        ),
    ],
)
def test_what_does_not_go_together_is_named(values, message):
    with pytest.raises(ValueError, match=r".") as caught:
        checks.check(changed(**values), num_devices=4)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["aftrans", "rams"])
def test_a_box_must_fit_into_the_image_where_a_model_crops(name):
    message = r"region\.min_box=225 is above data\.image_size=224: .*--config\.region\.min_box=32$"
    with pytest.raises(ValueError, match=message):
        checks.check(changed(model__name=name, region__min_box=225), num_devices=1)
    checks.check(changed(model__name=name, region__min_box=224), num_devices=1)
    checks.check(changed(model__name="vit", region__min_box=225), num_devices=1)


def test_two_images_a_device_are_enough_to_mix_and_to_compare():
    for values in ({"data__mixing": "both"}, {"loss__contrastive": 1.0}):
        checks.check(changed(train__batch_size=8, **values), num_devices=4)


@pytest.mark.parametrize(("warmup", "steps"), [(10, 10), (11, 10), (-1, 10)])
def test_the_warm_up_must_be_shorter_than_the_training(warmup, steps):
    config = changed(train__warmup_steps=warmup, train__steps=steps)
    message = f"^train.warmup_steps={warmup} must be at least 0 and below train.steps={steps}: "
    with pytest.raises(ValueError, match=message):
        build_optimizer(config)


def test_stopping_early_needs_held_out_images():
    config = changed(train__patience=3)
    assert check_evaluations(config, has_validation=True) == ()
    assert check_evaluations(base(), has_validation=False) == ()
    with pytest.raises(
        ValueError, match=r"train.patience=3 .*data.validation_fraction=0.1, or .*=0$"
    ):
        check_evaluations(config, has_validation=False)


@pytest.mark.parametrize(
    ("steps", "every", "remedy"), [(400, 100, "use --config.eval.every=99"), (4, 1, "train longer")]
)
def test_stopping_early_needs_evaluations_before_the_end(steps, every, remedy):
    """The evaluations at 100, 200, 300 and 400 of which three may be no better than the first."""
    config = changed(train__patience=3, train__steps=steps, eval__every=every)
    with pytest.raises(ValueError, match=rf"{steps} steps .*eval.every={every}: {remedy}"):
        check_evaluations(config, has_validation=True)
    config.train.steps += 1
    assert check_evaluations(config, has_validation=True) == ()


def test_held_out_images_that_choose_nothing_are_said():
    config = changed(train__steps=375, eval__every=375)
    (note,) = check_evaluations(config, has_validation=True)
    assert "eval.every=375 of 375 steps" in note
    assert "--config.eval.every=37 " in note
    config.eval.every = 374
    assert check_evaluations(config, has_validation=True) == ()


@pytest.mark.parametrize(
    ("name", "rate", "is_said"),
    [("sgd", 0.03, False), ("adamw", 0.03, True), ("lamb", 1e-3, False)],
)
def test_a_rate_of_sgd_is_said_to_be_one(name, rate, is_said):
    config = changed(train__optimizer=name, train__learning_rate=rate)
    assert bool(rate_notes(config)) == is_said
