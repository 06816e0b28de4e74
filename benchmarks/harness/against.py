"""The same benchmark on this checkout's package and on another commit's, in turns."""

import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness.errors import LackingError, WorkerError
from benchmarks.harness.figures import Figure, Result, ratio
from benchmarks.harness.worker import Worker
from benchmarks.settings import Settings

HERE = "this checkout"
THERE = "the other commit"
PACKAGES = ("aftrans_jax", "configs")
# Two processes may share one accelerator here.
ENVIRONMENT: Mapping[str, str] = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.45"}


@contextmanager
def checked_out(root: Path, ref: str) -> Iterator[Path]:
    """Yields a folder with a commit's packages and this checkout's benchmarks; removes it after.

    Args:
      root: root of this checkout.
      ref: name of the commit, in any form that git knows.
    """
    with tempfile.TemporaryDirectory() as temporary:
        worktree = Path(temporary, "worktree")
        packages = Path(temporary, "packages")
        _git(root, "worktree", "add", "--quiet", "--detach", str(worktree), ref).check_returncode()
        try:
            yield _side_by_side(packages, worktree)
        finally:
            _git(root, "worktree", "remove", "--force", str(worktree)).check_returncode()


def is_commit(root: Path, ref: str) -> bool:
    """Returns whether a repository has a commit of that name."""
    return not _git(root, "rev-parse", "--quiet", "--verify", f"{ref}^{{commit}}").returncode


def _git(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)


def _side_by_side(folder: Path, checkout: Path) -> Path:
    """Returns a folder of links, so that `benchmarks` of the other commit is not found first."""
    folder.mkdir()
    for name in PACKAGES:
        (folder / name).symlink_to(checkout / name)
    (folder / "benchmarks").symlink_to(Path(__file__).resolve().parents[1])
    return folder


def compare(function: str, settings: Settings, theirs: Path) -> tuple[Result, Result]:
    """Returns the results of this checkout and of another's packages.

    Each side has a process of its own, and only one of them runs at a time: the other waits where
    its next turn begins. So both meet the same machine in each turn. A side without turns runs in
    one go.

    Raises:
      LackingError: the other packages lack what the benchmark imports.
      WorkerError: a side failed.
    """
    start = "benchmarks.harness.figures:run_benchmark"
    sides: dict[str, Worker] = {}
    results: dict[str, Result] = {}
    try:
        for name, folder in ((HERE, None), (THERE, theirs)):
            sides[name] = Worker(start, function, settings, folder=folder, environment=ENVIRONMENT)
            _run_to_next_turn(name, sides, results)
        while sides:
            for name, side in list(sides.items()):
                side.answer()
                _run_to_next_turn(name, sides, results)
    finally:
        for side in sides.values():
            side.end()
    return results[HERE], results[THERE]


def _run_to_next_turn(name: str, sides: dict[str, Worker], results: dict[str, Result]) -> None:
    try:
        message = sides[name].listen()
    except (LackingError, WorkerError) as error:
        raise type(error)(f"{name}: {error}") from None
    if message.is_last:
        results[name] = message.value
        del sides[name]


def ratios(ours: Result, theirs: Result) -> dict[str, Figure]:
    """Returns ours over theirs, for the figures that both have and that are not zero."""
    return {
        name: ratio(ours.figures[name], figure)
        for name, figure in theirs.figures.items()
        if name in ours.figures and figure.median
    }
