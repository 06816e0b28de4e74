"""The pinned packages fit what the package declares and what the other tools take."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BOUNDS = [Requirement(text) for text in PROJECT["dependencies"]]


def pins(name: str) -> dict[str, str]:
    """The versions in a requirements file, without those of the files that it includes."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    found = [Requirement(line) for line in lines if line and not line.startswith("-r ")]
    return {item.name: str(item.specifier).removeprefix("==") for item in found}


RUN_TIME, TFDS, DEV, NOTEBOOK = map(
    pins,
    [
        "requirements.txt",
        "requirements-tfds.txt",
        "requirements-dev.txt",
        "launch/requirements-notebook.txt",
    ],
)


@pytest.mark.parametrize("bound", BOUNDS, ids=str)
def test_a_dependency_has_a_lower_bound_alone_and_its_pin_is_above_it(bound):
    """An upper bound would make `pip install .` replace what is newer."""
    assert re.fullmatch(r">=[\d.]+", str(bound.specifier))
    assert bound.specifier.contains(RUN_TIME[bound.name])


@pytest.mark.parametrize("extra", sorted(PROJECT["optional-dependencies"]))
def test_the_pins_are_within_the_extras(extra):
    for bound in map(Requirement, PROJECT["optional-dependencies"][extra]):
        pin = (RUN_TIME | TFDS | DEV).get(bound.name)
        assert pin is not None
        assert bound.specifier.contains(pin)


def test_every_pin_is_exact():
    for found in (RUN_TIME, TFDS, DEV, NOTEBOOK):
        assert all(re.fullmatch(r"[\d.]+", pin) for pin in found.values()), found


def test_the_run_time_and_the_tests_are_without_tensorflow():
    assert not {"tensorflow", "tensorflow-cpu"} & (RUN_TIME | DEV).keys()
    assert "tensorboard" not in RUN_TIME
    assert "tensorflow-cpu" in TFDS
    for name in ("requirements-dev.txt", "requirements-tfds.txt"):
        assert re.findall(r"^-r (.*)", (ROOT / name).read_text(), re.M) == ["requirements.txt"]


def test_pre_commit_runs_the_pinned_ruff():
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.search(r"ruff-pre-commit\n\s+rev: v(\S+)", text)[1] == DEV["ruff"]
