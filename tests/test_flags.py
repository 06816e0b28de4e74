"""Where `--config` finds a configuration: in the working directory, then in the package."""

import re
from pathlib import Path

import pytest
from absl import flags
from absl.testing import flagsaver

from aftrans_jax import configs, main  # whose flags they are
from aftrans_jax.flags import canonical, find_config, parse_flags, path_given, unchanged_config
from aftrans_jax.study import with_base

PACKAGED = Path(configs.__path__[0])
OWN = """
from aftrans_jax.config import base_config

def get_config():
    config = base_config()
    config.seed = 77
    return config
"""


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def parsed(monkeypatch, *arguments):
    argv = [main.__name__, *arguments]
    monkeypatch.setattr("sys.argv", argv)
    with flagsaver.flagsaver():
        assert parse_flags(argv) == argv[:1]
        return flags.FLAGS.config


def test_the_package_has_configurations():
    assert {"cub.py", "demo.py", "folder.py"} <= {path.name for path in PACKAGED.glob("*.py")}


def test_a_recipe_of_a_configuration_without_any_is_refused(monkeypatch):
    assert refused(monkeypatch, "--config=configs/folder.py:recipe=modern") == (
        "error: configs/folder.py has no recipes: leave ':recipe=modern' out"
    )


@pytest.mark.parametrize("flag", ["--num_processes=2", "--process_id=0"])
def test_a_process_is_numbered_for_a_coordinator_alone(monkeypatch, flag):
    given = ("--config=configs/demo.py", flag)
    with pytest.raises(SystemExit, match=r"belong to --coordinator=HOST:PORT of process 0: give"):
        parsed(monkeypatch, *given)
    assert parsed(monkeypatch, *given, "--coordinator=a:1") == parsed(monkeypatch, given[0])


@pytest.mark.parametrize("argument", ["", ":recipe=transfg"])
def test_a_packaged_configuration_is_found_from_anywhere(argument):
    assert find_config(f"configs/cub.py{argument}") == f"{PACKAGED / 'cub.py'}{argument}"


def test_the_working_directory_comes_first():
    own = Path("configs/cub.py")
    own.parent.mkdir()
    own.write_text(OWN.replace("get_config()", "get_config(argument)"))
    assert find_config("configs/cub.py:recipe=paper") == "configs/cub.py:recipe=paper"
    assert find_config("configs/demo.py") == str(PACKAGED / "demo.py")
    assert find_config(str(own.resolve())) == str(own.resolve())


@pytest.mark.parametrize(
    "name", ["configs/nosuch.py", "cub.py", "model/vit.py", "configs", "configs/../main.py", ""]
)
def test_an_unknown_one_lists_those_that_exist(name):
    with pytest.raises(FileNotFoundError) as caught:
        find_config(name)
    assert str(caught.value) == (
        f"--config={name} is no file: expected the path of one, or a configuration of the package: "
        "configs/cars.py, configs/cub.py, configs/demo.py, configs/dogs.py, configs/folder.py, "
        "configs/inat17.py, configs/nabirds.py"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config=configs/cub.py:recipe=transfg"],
        ["--config", "configs/cub.py:recipe=transfg"],
        ["-config=configs/cub.py:recipe=transfg", "--config.seed=5"],
        ["--config", "configs/cub.py:recipe=transfg", "--config.seed=5"],
    ],
)
def test_the_flag_takes_every_spelling(monkeypatch, arguments):
    config = parsed(monkeypatch, *arguments)
    assert (config.data.name, config.train.batch_size) == ("cub", 64)
    assert config.seed == 5 * ("--config.seed=5" in arguments)


def test_the_own_file_is_the_one_that_is_read(monkeypatch):
    Path("configs").mkdir()
    Path("configs/cub.py").write_text(OWN)
    assert parsed(monkeypatch, "--config=configs/cub.py").seed == 77


@pytest.mark.parametrize(
    ("given", "name"), [("configs/cub.py", "cub"), ("configs/cub.py:recipe=transfg", "cub-transfg")]
)
def test_a_run_is_named_after_its_recipe_and_compared_with_it(monkeypatch, given, name):
    own = parsed(monkeypatch, f"--config={given}").to_dict()
    argv = [main.__name__, f"--config={given}", "--config.seed=5"]
    monkeypatch.setattr("sys.argv", argv)
    with flagsaver.flagsaver():
        parse_flags(argv)
        found, plain = unchanged_config()
    assert (found, plain.to_dict()) == (name, own)


def test_an_unknown_file_ends_the_command_with_one_line(monkeypatch):
    with pytest.raises(SystemExit) as caught:
        parsed(monkeypatch, "--config=configs/nosuch.py", "--config.seed=5")
    assert caught.value.code.startswith("error: --config=configs/nosuch.py is no file: ")
    assert "\n" not in caught.value.code


@pytest.mark.parametrize("flag", ["config", "study"])
def test_a_file_without_a_configuration_is_named(monkeypatch, flag):
    """A study may leave its base to --config."""
    Path("own.py").write_text("get_study = None")
    with pytest.raises(SystemExit) as caught:
        parsed(monkeypatch, *with_base(["study", f"--{flag}=own.py"])[1:])
    assert caught.value.code == (
        "error: own.py has no get_config(): add one, as in configs/demo.py, or take another "
        "configuration (of a study: --config=FILE)"
    )


def test_the_workdir_of_a_study_is_no_run_to_take_settings_from(monkeypatch):
    """Without --study the message was of a run's config.json; what is missing is said later."""
    argv = ["study", "--workdir=nosuch"]
    monkeypatch.setattr("sys.argv", argv)
    with flagsaver.flagsaver():
        assert parse_flags(argv, needs_config=False, with_own=with_base) == ["study"]


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("cub", ["train.epochs=10"], (0, 10)),
        ("folder", ["train.steps=400"], (400, 0)),
        ("folder", ["train.epochs=3"], (0, 3)),
        ("cub", ["train.steps=400", "train.epochs=10"], (400, 10)),  # refused later
        ("cub", ["train.steps=400", "train.epochs=10", "train.steps=0"], (0, 10)),
        ("cub", ["train.epochs=0"], (10_000, 0)),
    ],
)
def test_the_length_that_is_given_is_the_one_that_decides(monkeypatch, name, given, expected):
    flags_given = [f"--config.{each}" for each in given]
    train = parsed(monkeypatch, f"--config=configs/{name}.py", *flags_given).train
    assert (train.steps, train.epochs) == expected


# ---------------------------------------------------------------------------- what cannot be parsed


def refused(monkeypatch, *arguments):
    with pytest.raises(SystemExit) as caught:
        parsed(monkeypatch, *arguments)
    return caught.value.code


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("lr", "train.learning_rate"),
        ("train.lr", "train.learning_rate"),
        ("lambda", "sacm.keep_ratio"),
        ("epochs", "train.epochs"),
        ("bs", "train.batch_size"),
        ("train.batchsize", "train.batch_size"),
        ("num_workers", "data.num_threads"),
        ("num-workers", "data.num_threads"),
        ("steps", "train.steps"),
        ("tta", "eval.mirror"),
        ("mixup", "data.mixing"),
        ("cutmix", "data.mixing"),
        ("reprob", "data.erasing"),
        ("label_smoothing", "loss.label_smoothing"),
        ("batch_size", "train.batch_size"),
        ("ema", "train.ema"),
        ("drop_path", "model.stochastic_depth"),
        ("gradient_checkpointing", "model.remat"),
        ("fsdp", "train.sharding"),
        ("save_steps", "train.save_every"),
    ],
)
def test_the_field_s_words_are_understood(monkeypatch, given, meant):
    for flag in (f"--config.{given}=1", f"--{given}=1"):
        message = refused(monkeypatch, "--config=configs/demo.py", flag)
        assert f"{meant}" in message.partition("did you mean one of ")[2].split(" (")[0]


def test_paths_are_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    config = parsed(monkeypatch, "--config=~/own.py", "--config.data.dir=~/photos")
    assert (config.seed, config.data.dir) == (77, f"{tmp_path}/photos")
    arguments = ("--config", "~/own.py", "--config.data.dir", "~/a", "--config.pretrained", "~/b")
    config = parsed(monkeypatch, *arguments)
    assert (config.data.dir, config.pretrained) == (f"{tmp_path}/a", f"{tmp_path}/b")
    for arguments in (["--workdir", "~/run"], ["--workdir=~/run"], ["-workdir", "~/run"]):
        assert canonical(["~", *arguments, "~"]) == ["~", f"--workdir={tmp_path}/run", "~"]
    assert path_given(canonical(["~", "--workdir=a", "--workdir", "b"]), "workdir") == "b"
    given = ["~", "--config.seed", "5", "-study=x"]
    assert canonical(given) == ["~", "--config.seed", "5", "--study=x"]


@pytest.mark.parametrize("arguments", [["--workdir="], ["-workdir", ""], ["--write", ""]])
def test_an_empty_path_is_refused(monkeypatch, arguments):
    """As from an unset shell variable: it trained in runs/demo."""
    message = refused(monkeypatch, "--config=configs/demo.py", *arguments)
    assert (
        message
        == f"error: {arguments[0].strip('=')}= is empty: expected a path; or leave the flag out"
    )


@pytest.mark.parametrize("flag", ["--config", "-config"])
def test_a_flag_without_its_path_is_refused(monkeypatch, flag):
    assert "Missing value for flag" in refused(monkeypatch, flag)


def test_paths_in_the_file_of_a_configuration_are_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    paths = "config.data.dir, config.pretrained = '~/photos', '$HOME/vit.npz'"
    Path("own.py").write_text(OWN.replace("config.seed = 77", paths), encoding="utf-8")
    config = parsed(monkeypatch, "--config=own.py")
    assert config.data.dir == f"{tmp_path}/photos"
    assert config.pretrained == f"{tmp_path}/vit.npz"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("config.train.steps=1e3", "a whole number, such as 1000"),
        ("config.seed=", "a whole number, such as 1000"),
        ("num_processes=2.0", "a whole number, such as 1000"),
        ("config.train.learning_rate=high", "a number, such as 0.1"),
    ],
)
def test_a_wrong_value_names_its_flag_and_what_is_expected(monkeypatch, given, expected):
    message = refused(monkeypatch, "--config=configs/demo.py", f"--{given}")
    assert message == f"error: flag --{given}: expected {expected}"


@pytest.mark.parametrize("flag", ["config.report.tensorboard", "distributed"])
def test_what_is_neither_true_nor_false_is_said(monkeypatch, flag):
    message = refused(monkeypatch, "--config=configs/demo.py", f"--{flag}=no")
    assert message == f"error: flag --{flag}=no: expected true or false"


def test_without_a_configuration_it_says_what_to_give(monkeypatch):
    assert refused(monkeypatch) == (
        "error: no configuration is given: give --config=configs/folder.py, or another of "
        "configs/, or the --workdir of a run (--help lists all)"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\0", "(SyntaxError|ValueError): source code (string )?cannot contain null bytes"),
        ('{"eval_mirror": false}', "NameError: name 'false' is not defined"),
        ("get_config = ", r"SyntaxError: invalid syntax \(own\.file, line 1\)"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(monkeypatch, text, said):
    Path("own.file").write_text(text, encoding="utf-8")
    message = refused(monkeypatch, "--config=own.file")
    remedy = (
        r"Expected a configuration in Python, as configs/demo\.py; for a run, give its --workdir"
    )
    assert re.fullmatch(rf"error: own\.file fails: {said}\. {remedy} alone", message)


def test_two_configurations_are_refused(monkeypatch):
    message = refused(monkeypatch, "--config=configs/demo.py", "--config", "configs/cub.py")
    assert message == (
        "error: --config=configs/demo.py --config=configs/cub.py: expected one configuration; its "
        "keys are set by --config.KEY=VALUE"
    )


def test_a_configuration_that_fails_says_why(monkeypatch):
    assert refused(monkeypatch, "--config=configs/cub.py:recipe=transgf") == (
        f"error: flag --config={PACKAGED}/cub.py:recipe=transgf: 'recipe=transgf' is no recipe: "
        "expected recipe=paper or recipe=transfg after the colon, such as "
        "--config=configs/cub.py:recipe=transfg"
    )
