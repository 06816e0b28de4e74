"""What --help prints of the keys: values of the configuration that is given, and what they mean."""

import os
import re
import subprocess
import sys
from inspect import getsource
from pathlib import Path

import pytest
from flax.traverse_util import flatten_dict
from places import ROOT

from aftrans_jax.config import base_config
from aftrans_jax.experiment.checks import CHOICES
from aftrans_jax.key_groups import is_left
from aftrans_jax.keys import COLUMNS, SYNONYMS, key_helps, known_keys, listed
from aftrans_jax.training.parameter_groups import TRAINABLE

HELPS = key_helps()
TAKEN = {**CHOICES, "train.trainable": tuple(TRAINABLE)}  # whose last:K is no plain choice


KEYS = list(flatten_dict(base_config().to_dict(), sep="."))


def test_the_keys_are_those_of_the_configuration():
    assert sorted(known_keys()) == sorted(KEYS)
    assert len(KEYS) > 40
    assert set(SYNONYMS.values()) <= {*KEYS}
    # A key's own name is known without its group; of the two batches the training's is first.
    assert SYNONYMS.keys() & {key.rpartition(".")[2] for key in KEYS} == {"batch_size"}


# -------------------------------------------------------------------------------- what keys mean


def test_every_key_and_every_group_has_help():
    assert set(HELPS) == {*KEYS, *(key.partition(".")[0] for key in KEYS)}


@pytest.mark.parametrize("key", HELPS)
def test_help_says_what_a_key_is_and_not_where_its_default_is_from(key):
    text = HELPS[key]
    assert len(text.split()) >= (3 if key in KEYS else 2)
    assert text[0].isupper()
    assert not text.endswith(".")
    assert not re.search(r"Choice|Paper|Follows|\bsection|\bpaper|\beq\.|\btable", text)
    assert text.count("(") == text.count(")")


def test_every_line_of_comment_is_help_of_one_key():
    lines = [line.strip() for line in getsource(base_config).splitlines()]
    comments = [line[2:].removesuffix(".").lower() for line in lines if line.startswith("# ")]
    assert len(comments) > 50
    helps = [text.lower() for text in HELPS.values()]
    assert all(sum(text.count(comment) for text in helps) == 1 for comment in comments)


def offered(text: str) -> list[str]:
    """The values that a help lists: "which: a | b (when)" has a and b."""
    plain = re.sub(r" \([^)]*\)", "", text)
    return plain.partition(": ")[2].split(" | ") if " | " in plain else []


@pytest.mark.parametrize("key", TAKEN)
def test_values_that_are_offered_are_those_that_are_taken(key):
    taken = [*TAKEN[key]]
    if is_left(key, "auto"):
        taken.append("auto")
    assert sorted(offered(HELPS[key])) == sorted(taken)


def test_no_other_key_offers_names():
    assert {key for key, text in HELPS.items() if offered(text)} == set(TAKEN)


def test_the_rule_of_choices_can_fail():
    assert offered("Which one: a (b | c) | d") == ["a", "d"]
    assert offered("Weight of KL(a || b): a number") == []


def test_the_field_s_word_for_the_mirror_image_is_found():
    assert "test-time augmentation" in HELPS["eval.mirror"].lower()


# ------------------------------------------------------------------------------ how it is printed


def test_lines_are_narrow_and_hold_every_value_under_its_group():
    lines = listed(base_config())
    assert max(map(len, lines)) <= COLUMNS
    starts = [line.split()[0] for line in lines if re.match(r" {2}\S", line)]
    assert sorted(start.partition("=")[0] for start in starts) == sorted(KEYS)
    assert "train.momentum=0.9" in starts
    assert lines.index("sacm: which patches matter, by attention") < lines.index(
        next(line for line in lines if line.startswith("  sacm.keep_ratio=0.2"))
    )


def test_a_long_value_has_its_help_in_the_line_below():
    config = base_config()
    config.pretrained = "augreg/Ti_16-i21k-300ep"
    lines = listed(config)
    place = lines.index("  pretrained=augreg/Ti_16-i21k-300ep")
    assert lines[place + 1].split()[:3] == ["A", "ViT's", "weights:"]


def helped(module: str, *arguments: str, folder: Path = ROOT) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"aftrans_jax.{module}", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def shown(text: str) -> dict[str, str]:
    """Values by key, as far as the line holds them."""
    pairs = [line.split()[0] for line in text.splitlines() if re.match(r" {2}[a-z]", line)]
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def test_values_are_those_of_the_configuration_that_is_given():
    text = helped("main", "--config=configs/folder.py", "--help")
    assert "keys (--config.KEY=VALUE), as in configs/folder.py:" in text
    values = shown(text)
    assert (values["train.learning_rate"], values["train.epochs"]) == ("0.01", "10.0")
    assert (values["train.steps"], values["data.name"]) == ("0", "folder")


def test_values_are_those_of_recipe_and_command_line():
    given = ("--help", "--config", "configs/cub.py:recipe=paper", "--config.seed=5")
    text = helped("check_data", *given)
    assert "as in configs/cub.py:recipe=paper, but for those given here:" in text
    assert (shown(text)["model.stride"], shown(text)["seed"]) == ("12", "5")


def test_values_of_a_study_are_those_that_its_rows_change(tmp_path):
    text = helped("study", "--study=configs/studies/table6.py", "-h", folder=tmp_path)
    assert "as in configs/studies/table6.py:" in text
    assert shown(text)["train.steps"] == "90"


def test_a_configuration_in_a_file_of_flags_is_named(tmp_path):
    path = ROOT / "configs" / "demo.py"
    (tmp_path / "flags.txt").write_text(f"--config={path}", encoding="utf-8")
    text = helped("main", "--flagfile=flags.txt", "--help", folder=tmp_path)
    assert f"as in {path}:" in text


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("def get_config(): return {}['x']", "fails: KeyError: 'x'. Expected get_config() to"),
        ("from ml_collections import ConfigDict as get_config", "fails: AttributeError: \"'pretr"),
    ],
)
def test_a_configuration_that_fails_is_named(tmp_path, written, said):
    (tmp_path / "own.py").write_text(written, encoding="utf-8")
    text = " ".join(helped("main", "--config=own.py", "--help", folder=tmp_path).split())
    assert f"cannot be read: own.py {said}" in text


def test_without_a_configuration_it_is_the_base(tmp_path):
    text = helped("study", "--workdir=studies/x", "--help", folder=tmp_path)
    assert "as in aftrans_jax/config.py:" in text
    assert shown(text)["train.steps"] == "10000"


@pytest.mark.parametrize(
    ("module", "arguments", "said"),
    [
        ("main", ["--config=nosuch.py"], "--config=nosuch.py is no file: expected"),
        ("study", ["--study=nosuch.py"], "--study=nosuch.py is no file: expected"),
        ("main", ["--config=own.py"], "own.py fails: ZeroDivisionError: division by zero"),
        ("main", ["--config=configs/cub.py:recipe=x"], "'recipe=x' is no recipe"),
        ("main", ["--workdir=empty"], "empty has no config.json"),
        ("main", ["--config=configs/demo.py", "--config.lr=1"], "mean one of train.learning_rate"),
        ("main", ["--config=configs/demo.py", "--worksdir=x"], "--worksdir is no flag"),
    ],
)
def test_what_cannot_be_read_is_said_above_the_keys_of_the_base(tmp_path, module, arguments, said):
    (tmp_path / "own.py").write_text("1 / 0", encoding="utf-8")
    text = " ".join(helped(module, *arguments, "--help", folder=tmp_path).split())
    assert "as in aftrans_jax/config.py: what this command gives cannot be read: " in text
    assert said in text
    assert "train.steps=10000" in text


def test_values_are_those_that_a_run_recorded(trained_run):
    text = helped("main", f"--workdir={trained_run}", "--help")
    assert f"as in the record of {trained_run}:" in text
    assert shown(text)["train.steps"] == "60"
