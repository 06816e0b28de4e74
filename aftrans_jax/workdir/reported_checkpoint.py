"""The checkpoint of a working directory that its run reports."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aftrans_jax.training.checkpoint_reading import Restored
from aftrans_jax.training.checkpoints import Checkpoints
from aftrans_jax.workdir.record import read_result


def restore_reported(
    workdir: Path, template: Any, *, say: Callable[[str], None], prefixes: Sequence[str] = ("",)
) -> Restored:
    """Returns the checkpoint that a run reports; only reads.

    With a validation split it is the checkpoint that scores best on it, by the logits that the run
    was trained to report, else the newest.

    Args:
      workdir: directory of the run.
      template: see `Checkpoints.restore_latest`.
      say: shows a line to the user.
      prefixes: see `Checkpoints.restore_latest`.

    Raises:
      FileNotFoundError: there is no checkpoint.
      ValueError, OSError: it is damaged, does not fit the template or cannot be read.
    """
    checkpoints = Checkpoints(workdir / "checkpoints", say=say)
    restored = checkpoints.restore_best(template, prefixes=prefixes)
    restored = restored or checkpoints.restore_latest(template, prefixes=prefixes)
    if restored is None:
        raise FileNotFoundError(absent_checkpoints(workdir))
    return restored


def absent_checkpoints(workdir: Path) -> str:
    """Returns the error message where a trained model is needed and there is no checkpoint."""
    way = "train first"
    if read_result(workdir):  # a training would not run again
        way = "bring them back from a copy, or move result.json away too and train again"
    return f"{(workdir / 'checkpoints').resolve()} holds no checkpoint: {way}"
