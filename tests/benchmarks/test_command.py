"""The one command: its registry, what it prints and writes, and comparisons of two commits."""

import ast
import json
import os
import pkgutil
import re
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.harness import records
from benchmarks.harness.errors import WorkerError
from benchmarks.harness.figures import Figure, Result, take_turns
from benchmarks.registry import ANY, BENCHMARKS, REGISTRY, Benchmark, Goal
from benchmarks.settings import FLAGS, Settings, settle

ROOT = Path(__file__).parents[2]
FAKES = """
from benchmarks.harness.errors import LeftOutError
from benchmarks.harness.figures import Figure, Result

def fine(settings): return Result({"time": Figure(2.0, "s", 1.0, 3.0, error=0.0)}, {"a": 1})
def failing(settings): raise ValueError("a wrong turn")
def absent(settings): raise LeftOutError("no camera here")

def speed(settings):
    import aftrans_jax
    mine = getattr(aftrans_jax, "SPEED", 3.0)
    for turn in range(settings.num_calls):
        settings.pause()
        with open(settings.photos, "a") as log: log.write(f"{mine} ")
    return Result({"speed": Figure(mine, "m/s"), "zero": Figure(0, "m")}, {})
"""


# What setuptools installs for `pip install -e .`, and a file that Python runs at its start.
EDITABLE = f"""
import sys
from importlib.machinery import PathFinder

class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.startswith("aftrans_jax."):
            return PathFinder.find_spec(name, [{str(ROOT / "aftrans_jax")!r}])
"""
AT_START = "import sys, __editable___aftrans_jax_9_finder as it; sys.meta_path.append(it.Finder)"


class Here:
    """A worker in this process: test_worker.py holds those in their own."""

    def __init__(self, function, *arguments):
        self.call = lambda: pkgutil.resolve_name(function)(*arguments, None)

    def result(self):
        try:
            return self.call()
        except ValueError as error:
            raise WorkerError(error) from None


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """Runs the command on the benchmarks above; returns its status and what it printed."""
    (tmp_path / "fakes.py").write_text(FAKES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("benchmarks.__main__.Worker", Here)
    names = ("fine", "failing", "absent", "speed")
    reads = {"speed": ("photos", "num_calls")}
    fakes = {
        name: Benchmark(name, f"is {name}", f"fakes:{name}", reads.get(name, ())) for name in names
    }
    fakes["gpu_only"] = Benchmark("gpu_only", "needs one", "fakes:fine", (), devices=("gpu",))

    def run(*arguments, **options):
        try:
            status = main([*arguments, "--results", str(tmp_path / "results")], fakes, **options)
        except SystemExit as end:
            status = end.code
        return status, "".join(capfd.readouterr())

    return run


def test_the_registry_is_complete_and_each_name_is_there_once():
    assert len(REGISTRY) == len(BENCHMARKS) == 17
    for name, entry in REGISTRY.items():
        assert name == entry.name
        assert entry.claim
        assert set(entry.devices) <= {*ANY, "ahead"}
        assert callable(pkgutil.resolve_name(entry.function))
        assert settle("cpu", entry.defaults, {}).backend == "cpu"
        for goal in entry.goals:
            assert goal.unit
            assert (goal.must, goal.goal) != (None, None)
            if None not in (goal.must, goal.goal):
                assert (goal.goal < goal.must) == (goal.better == "lower")


def test_each_of_performances_goals_has_a_benchmark():
    claims = " ".join(entry.claim for entry in BENCHMARKS)
    named = set(map(int, re.findall(r"\bP(\d+)\b", claims)))
    assert named >= {1, 2, 4, 5, 6, 7, 9, 10, 11, 14}


def test_verdicts_by_hand():
    goal = Goal("a / b", "ratio", "higher", 2.0, 2.5)
    verdicts = [goal.verdict(value).partition(":")[0] for value in (1.9, 2.0, 2.5)]
    assert verdicts == ["missed", "must met", "goal met"]
    assert Goal("a", "s", "lower", 3).verdict(3.5) == "missed: must <= 3"


def test_flags_come_before_the_benchmarks_defaults_before_the_devices():
    settings = settle("cpu", {"num_calls": 100, "batch": 2}, {"batch": 8, "only": None})
    assert (settings.variant, settings.num_calls, settings.batch) == ("ti16", 100, 8)
    assert (settings.image_size, settings.local_size) == (224, 112)
    gpu = settle("gpu", {}, {})
    assert (gpu.variant, gpu.image_size, gpu.batch, gpu.num_calls) == ("b16", 448, 48, 20)
    with pytest.raises(ValueError, match=r"\['c'\]: expected some of \['a', 'b'\]"):
        settle("cpu", {}, {"only": ("a", "c")}).pick("ab", "a")


def test_an_unknown_name_lists_those_that_exist(command):
    status, printed = command("fien")
    assert status == 2
    assert "no benchmark fien: expected some of fine, failing" in printed


def settings_in(module):
    """The settings that the text of a benchmark's module reads, as far as a parser sees."""
    behind = {
        "config": ("variant", "stride", "attention", "precision", "image_size", "local_size"),
        "resolved": ("precision", "attention"),
        "pick": ("only",),
        "take_turns": ("num_calls", "num_warm_up"),
    }
    tree = ast.parse(Path(module.__file__).read_text())
    found = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", None) == "settings"
    }
    if any(getattr(node, "id", None) == "take_turns" for node in ast.walk(tree)):
        found.add("take_turns")
    return set().union(*(behind.get(name, (name,)) for name in found)) & set(FLAGS)


@pytest.mark.parametrize("entry", BENCHMARKS, ids=lambda entry: entry.name)
def test_a_benchmark_says_what_it_reads(entry):
    found = settings_in(sys.modules[pkgutil.resolve_name(entry.function).__module__])
    not_reaching = {  # the largest batch is searched beside the step, localization is DeiT-tiny's
        "largest_batch": {"only", "num_calls", "num_warm_up"},
        "localization": {"variant", "attention", "precision", "local_size"},
    }
    assert found - not_reaching.get(entry.name, set()) == set(entry.reads)
    assert set(entry.defaults) <= set(entry.reads)


def test_a_flag_that_no_chosen_benchmark_reads_is_refused(command):
    status, printed = command("fine", "speed", "--batch=8", "--num-warm-up=0", "--num-calls=2")
    assert status == 2
    assert "--batch, --num-warm-up: not read by these benchmarks" in printed
    assert "read: --num-calls, --photos" in printed
    assert "--batch: not read by these benchmarks; read: none" in command("fine", "--batch=8")[1]


def test_the_list_names_claims_and_goals(capsys):
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(entry.claim in printed for entry in BENCHMARKS)
    assert "aftrans / two plain steps [ratio]: must <= 1.06, goal <= 0.99" in printed


def test_one_that_fails_does_not_stop_the_others(command, tmp_path):
    status, printed = command("failing", "absent", "gpu_only", "fine")
    assert status == 1
    assert "a wrong turn" in printed
    assert "left out: no camera here" in printed
    assert "left out: runs on gpu, and this is cpu" in printed
    written = json.loads((tmp_path / "results" / "cpu" / "fine.json").read_text())
    assert written["figures"] == {
        "time": {"median": 2.0, "unit": "s", "lower": 1.0, "upper": 3.0, "error": 0.0}
    }


def test_the_form_of_a_result(tmp_path):
    ticks = count()
    settings = Settings("cpu", batch=2, num_calls=3, num_warm_up=0, photos=Path("a", "b"))
    timed = take_turns({"step": list}, settings, clock=lambda: next(ticks) ** 2 / 1000)
    figures = {"step": timed["step"]._replace(error=0.5), "count": Figure(3, "count")}
    result = Result(figures, {"dtype": "float32"}, compiled_for="NVIDIA H100 80GB HBM3")
    reads = ("batch", "photos", "num_calls")
    benchmark = Benchmark("fake", "is fast", "x:y", reads, (Goal("step", "ms", "lower", 6, 4),))
    path = records.write(tmp_path, benchmark, settings, result, {"device": "4 x cpu"})
    assert path == tmp_path / "h100" / "fake.json"
    written = json.loads(path.read_text())
    del written["checksum"]
    assert written.pop("settings") == {"batch": 2, "photos": "b", "num_calls": 3}
    assert written == {
        "benchmark": "fake",
        "claim": "is fast",
        "figures": {  # ticks of 0, 1, 4, 9, 16, 25 ms
            "step": {"median": 5.0, "unit": "ms", "lower": 3.0, "upper": 7.0, "error": 0.5},
            "count": {"median": 3, "unit": "count"},
        },
        "details": {"dtype": "float32"},
        "compiled_for": "NVIDIA H100 80GB HBM3",
        "device": "4 x cpu",
    }
    lines = list(records.table(benchmark, "cpu", figures))
    assert " ".join(lines[1].split()) == "step 5 3 to 7 ms 5.0e-01 must met: must <= 6, goal <= 4"
    assert lines[2].split() == ["count", "3", "count"]


def test_the_environment_names_device_versions_and_commit():
    found = records.environment(records.Device("cpu", "cpu", 4))
    assert found["device"] == "4 x cpu"
    assert {"python", "jax"} <= found["versions"].keys()
    assert records.slug("TPU v5 lite") == "v5e"
    assert records.slug("NVIDIA A100-SXM4-80GB") == "a100"


@pytest.fixture
def repository(tmp_path):
    """Two commits: the package with a speed of 2, and a package that lacks everything."""
    root = tmp_path / "repository"

    def git(*words):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        command = ["git", *identity, *words]
        return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout

    (root / "aftrans_jax").mkdir(parents=True)
    git("init", "-q")
    whole = f"SPEED = 2.0\n__path__.append({str(ROOT / 'aftrans_jax')!r})\n"
    for text in (whole, ""):
        (root / "aftrans_jax" / "__init__.py").write_text(text)
        git("add", ".")
        git("commit", "-q", "-m", "a")
    return root, git


def test_two_commits_are_compared_in_turns(command, repository, tmp_path):
    (root, git), log = repository, tmp_path / "log"
    flags = ("--num-calls", "3", "--photos", str(log))
    status, printed = command("speed", "--against", "HEAD~1", *flags, root=root)
    assert status == 0
    assert log.read_text() == "3.0 2.0 " * 3
    assert "speed           1.5" in printed
    assert "zero" not in printed
    assert len(git("worktree", "list").splitlines()) == 1
    assert not (tmp_path / "results").exists()


def test_a_commit_that_lacks_something_is_told_of(command, repository, tmp_path):
    """Also where this checkout, which has it, is installed as editable."""
    root, git = repository
    (tmp_path / "__editable___aftrans_jax_9_finder.py").write_text(EDITABLE)
    (tmp_path / "sitecustomize.py").write_text(AT_START)
    status, printed = command("speed", "--against", "HEAD", "--photos", os.devnull, root=root)
    assert status == 1
    assert "error: cannot import what speed needs: the other commit: No module named" in printed
    assert len(git("worktree", "list").splitlines()) == 1
    status, printed = command("speed", "--against", "no_such_commit", root=root)
    assert status == 2
    assert "--against=no_such_commit: expected a commit" in printed
