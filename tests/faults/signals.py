"""SIGTERM, SIGINT and SIGHUP at random moments: no step is lost, one line, the right exit code."""

import contextlib
import json
import os
import random
import signal
import tempfile
import time
from pathlib import Path

from driver import main
from processes import PHASES, Run, problems, undisturbed

KINDS = PHASES


def last_step(workdir: Path) -> int:
    """The last step that was reported; every one is."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return max((json.loads(line)["step"] for line in lines), default=0)


def run_one(kind: str, seed: int) -> str | None:
    """Sends a run a signal in a phase, finishes it, and compares it with an undisturbed one."""
    from aftrans_jax.training.checkpoint_numbers import checkpoint_numbers

    chance = random.Random(seed)
    number = chance.choice((signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder, "run")
        run = Run(workdir)
        run.reaches(kind, chance.choice((1, 2)) if kind in ("save", "evaluate") else 1)
        time.sleep(0.3 if kind == "start" else 0)  # until the handlers are there
        time.sleep(chance.uniform(0, 1.0 if kind in ("start", "train") else 0.1))
        with contextlib.suppress(ProcessLookupError):
            for _ in range(chance.choice((1, 1, 2))):  # timeout(1) sends it twice
                os.kill(run.pid, number)
        outcome = run.wait()
        if kind == "save" and not outcome.code:
            return "it ended in spite of the signal"
        if outcome.code not in (0, 128 + number):
            return f"exit code {outcome.code}: {outcome.output}"
        if outcome.code:
            said = outcome.output.splitlines()
            if not said[-1].startswith(f"{number.name}: stopped") or "Traceback" in outcome.output:
                return outcome.output
            saved = max(checkpoint_numbers(workdir / "checkpoints"), default=0)
            if saved < last_step(workdir):
                return f"step {last_step(workdir)} was reported, {saved} is saved: {said[-1]}"
            outcome = Run(workdir).wait()
            if outcome.code:
                return f"exit code {outcome.code}: {outcome.output}"
        return problems(workdir, undisturbed())


if __name__ == "__main__":
    main("signals", KINDS, run_one)
