"""Measures what this project claims.

    python -m benchmarks --list
    python -m benchmarks step predict --batch=8 --num-calls=5
    python -m benchmarks labelling --against HEAD~1

Without names, those of this device are run. Each runs in a process of its own; its result is
printed and written to RESULTS/<device>/<name>.json as soon as it is there. With --against, the
benchmarks of this checkout run on its package and on another commit's in turns; the ratios, ours
over theirs, are printed and nothing is written. The exit status is 1 where one failed.
"""

import argparse
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import FrameType

from benchmarks.harness import against, records
from benchmarks.harness.errors import LackingError, LeftOutError, WorkerError
from benchmarks.harness.figures import Result
from benchmarks.harness.worker import Worker
from benchmarks.registry import REGISTRY, Benchmark
from benchmarks.settings import FLAGS, add_flags, flag, settle

ROOT = Path(__file__).parents[1]
Registry = Mapping[str, Benchmark]


def listing(registry: Registry) -> Iterator[str]:
    """Yields a description of every benchmark."""
    for name, entry in registry.items():
        yield f"{name:14} {entry.claim} ({', '.join(entry.devices)})"
        yield from (f"{'':14}   {goal}" for goal in entry.goals)
        yield f"{'':14}   {' '.join(map(flag, entry.reads)) or 'no flags'}"


def measure(
    benchmark: Benchmark, device: records.Device, args: argparse.Namespace, theirs: Path | None
) -> None:
    """Runs a benchmark, prints its figures, and writes them if it is not a comparison.

    Args:
      benchmark: benchmark to run.
      device: device that JAX runs on.
      args: arguments of the command.
      theirs: packages to compare with, None to measure only this checkout.

    Raises:
      LeftOutError: something that it needs is missing.
      LackingError: it could not import something.
      WorkerError: it failed.
    """
    if not {device.backend, "ahead"} & set(benchmark.devices):
        raise LeftOutError(f"runs on {', '.join(benchmark.devices)}, and this is {device.backend}")
    settings = settle(device.backend, benchmark.defaults, vars(args))
    if theirs is not None:
        results = against.compare(benchmark.function, settings, theirs)
        figures = against.ratios(*results)
        without_goals = benchmark._replace(goals=())
        print("\n".join(records.table(without_goals, device.backend, figures)), flush=True)
        return
    start = "benchmarks.harness.figures:run_benchmark"
    result: Result = Worker(start, benchmark.function, settings).result()
    print("\n".join(records.table(benchmark, device.backend, result.figures)), flush=True)
    surroundings = records.environment(device)
    path = records.write(args.results, benchmark, settings, result, surroundings)
    print(f"written to {path}", flush=True)


def run_all(
    benchmarks: Sequence[Benchmark],
    device: records.Device,
    args: argparse.Namespace,
    theirs: Path | None,
) -> int:
    """Returns 1 if a benchmark failed, else 0, after all of them were run."""
    status = 0
    for benchmark in benchmarks:
        versus = f", ratios of this checkout to {args.against}" if theirs else ""
        print(f"== {benchmark.name}: {benchmark.claim}{versus}", flush=True)
        try:
            measure(benchmark, device, args, theirs)
        except LeftOutError as error:
            print(f"left out: {error}", flush=True)
        except LackingError as error:
            print(f"error: cannot import what {benchmark.name} needs: {error}", flush=True)
            status = 1
        except WorkerError as error:
            print(f"error: {benchmark.name} failed: {error}", flush=True)
            status = 1
    return status


def main(
    arguments: Sequence[str] | None = None, registry: Registry = REGISTRY, root: Path = ROOT
) -> int:
    """Returns the exit status: 0, or 1 where a benchmark failed."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("benchmarks", description=__doc__, formatter_class=form)
    parser.add_argument("names", nargs="*", metavar="NAME", help="those of this device by default")
    parser.add_argument("--list", action="store_true", help="say what there is, and end")
    parser.add_argument("--against", metavar="REF", help="the commit to compare with")
    parser.add_argument("--results", type=Path, default=root / "benchmarks" / "results")
    add_flags(parser)
    args = parser.parse_args(arguments)
    if args.list:
        print("\n".join(listing(registry)))
        return 0
    if unknown := [name for name in args.names if name not in registry]:
        parser.error(f"no benchmark {', '.join(unknown)}: expected some of {', '.join(registry)}")
    if args.against and not against.is_commit(root, args.against):
        parser.error(f"--against={args.against}: expected a commit of this repository")
    device = Worker("benchmarks.harness.records:current_device").result()
    of_device = [name for name, entry in registry.items() if device.backend in entry.devices]
    benchmarks = [registry[name] for name in args.names or of_device]
    read = {name for entry in benchmarks for name in entry.reads}
    if ignored := [
        flag(name) for name in FLAGS if name not in read and vars(args)[name] is not None
    ]:
        known = ", ".join(flag(name) for name in FLAGS if name in read) or "none"
        parser.error(f"{', '.join(ignored)}: not read by these benchmarks; read: {known}")
    other = against.checked_out(root, args.against) if args.against else nullcontext()
    with other as theirs:
        return run_all(benchmarks, device, args, theirs)


def _end(number: int, frame: FrameType | None) -> None:
    """Ends the program so that a worktree is removed; `timeout` sends the signal twice."""
    del frame
    signal.signal(number, signal.SIG_IGN)
    sys.exit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())
