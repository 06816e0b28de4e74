"""SIGKILL at random moments, then the same command again: nothing may be lost or different."""

import os
import random
import signal
import tempfile
import time
from pathlib import Path

from driver import main
from processes import PHASES, Run, problems, undisturbed

KINDS = PHASES


def run_one(kind: str, seed: int) -> str | None:
    """Kills a run once or twice in a phase, finishes it and compares it with an undisturbed one."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        workdir, hits = Path(folder, "run"), []
        for _ in range(chance.choice((1, 1, 2))):
            run = Run(workdir)
            if run.reaches(kind, chance.choice((1, 2)) if kind in ("save", "evaluate") else 1):
                longest = 1.5 if kind in ("start", "train") else 0.15
                time.sleep(chance.uniform(0, longest))
                os.kill(run.pid, signal.SIGKILL)
            hits.append(run.wait().code == -signal.SIGKILL)
        if not any(hits):
            return f"it ended before it could be killed in the phase {kind}"
        outcome = Run(workdir).wait()
        if outcome.code:
            return f"exit code {outcome.code}: {outcome.output}"
        return problems(workdir, undisturbed())


if __name__ == "__main__":
    main("kill", KINDS, run_one)
