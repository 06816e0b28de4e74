"""A job of Slurm without Slurm: two tasks on one node, told by variables who they are."""

import contextlib
import os
import socket
import sys
from pathlib import Path

# Starts what it is given as srun does.
_SRUN = """#!/usr/bin/env bash
[[ $1 == --kill-on-bad-exit=1 && $2 == --cpus-per-task=3 ]] || exit 9
shift 2
for task in 0 1; do
  SLURM_STEP_NODELIST=localhost SLURM_STEP_NUM_NODES=1 SLURM_NTASKS=2 SLURM_PROCID=$task \\
    SLURM_LOCALID=$task "$@" >"$OUTPUT.$task" 2>&1 &
  tasks+=($!)
done
for task in "${tasks[@]}"; do wait "$task" || exit 1; done
"""


def job(folder: Path, **variables: str) -> dict[str, str]:
    """The environment of a job whose `srun` writes what task n prints to output.n in a folder."""
    (folder / "srun").write_text(_SRUN)
    (folder / "srun").chmod(0o755)
    programs = (str(folder), str(Path(sys.executable).parent), os.environ["PATH"])
    return {
        **os.environ,
        "PATH": os.pathsep.join(programs),
        "VIRTUAL_ENV": sys.prefix,
        "SLURM_JOB_ID": str(_job_number()),
        "SLURM_CPUS_PER_TASK": "3",
        "OUTPUT": str(folder / "output"),
        **variables,
    }


def outputs(folder: Path) -> tuple[str, str]:
    """What the two tasks printed."""
    first, second = ((folder / f"output.{task}").read_text() for task in (0, 1))
    return first, second


def _job_number() -> int:
    """A job number from which jax makes a free port: it adds the number modulo 4096 to 61440."""
    for number in range(os.getpid() % 4096, 4096):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", 61440 + number))
            return number
    raise OSError("no port is free")
