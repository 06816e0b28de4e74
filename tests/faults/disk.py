"""A disk that is full, read-only or gone: one line, no traceback, and what was saved is intact."""

import random
import re
import shutil
import tempfile
from pathlib import Path

from driver import main
from processes import Run, problems, undisturbed

KINDS = ("full", "read-only", "gone", "a file", "no folder")


def run_one(kind: str, seed: int) -> str | None:
    """Runs on a disk that fails; where it is full, frees it and finishes the run."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        workdir, limit = Path(folder, "run"), 0
        if kind == "full":  # as far as a single process can be given one: no file may be larger
            limit = chance.choice((300, 2_000, 20_000))
        elif kind == "read-only":
            workdir = Path("/proc/sys/kernel/run")
        elif kind == "a file":
            workdir.write_text("")
        elif kind == "no folder":
            Path(folder, "file").write_text("")
            workdir = Path(folder, "file", "run")
        run = Run(workdir, limit=limit, folder=Path(folder))
        if kind == "gone" and run.reaches("save", chance.choice((1, 2, 3))):
            shutil.rmtree(workdir, ignore_errors=True)
        outcome = run.wait()
        if kind == "gone" and not outcome.code:
            return None  # it ended before
        errors = [line for line in outcome.output.splitlines() if not ordinary(line)]
        if outcome.code != 1 or len(errors) != 1 or not errors[0].startswith("error: "):
            return f"exit code {outcome.code}: {outcome.output}"
        if kind == "full":
            outcome = Run(workdir).wait()
            return problems(workdir, undisturbed()) if not outcome.code else outcome.output
        return None


ORDINARY = re.compile(
    r"aftrans_jax |reading |drawing |synthetic: |vit: |pretrained: |loading |compiling |step \d"
    r"|evaluating |writing |\(traceback in "
)


def ordinary(line: str) -> bool:
    """Whether a line is one of those that a sound run prints, or names the log of an error."""
    return bool(ORDINARY.match(line))


if __name__ == "__main__":
    main("disk", KINDS, run_one)
