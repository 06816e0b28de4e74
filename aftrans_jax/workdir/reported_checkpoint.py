"""The checkpoint of a working directory by which its run answers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aftrans_jax.training.checkpoint_reading import Restored
from aftrans_jax.training.checkpoints import Checkpoints
from aftrans_jax.workdir.record import read_result


def restore_reported(
    workdir: Path, template: Any, *, say: Callable[[str], None], parts: Sequence[str] = ("",)
) -> Restored:
    """Returns the checkpoint that a run reports; reads only.

    It is the best one on validation images where the run has them, by the logits that it was
    trained to answer by, else the newest.

    Args:
      workdir: of the run.
      template: see `Checkpoints.restore_latest`.
      say: shows a line to the user.
      parts: of the state, likewise.

    Raises:
      FileNotFoundError: there is no checkpoint.
      ValueError, OSError: it is damaged, does not fit the template or cannot be read.
    """
    checkpoints = Checkpoints(workdir / "checkpoints", say=say)
    restored = checkpoints.restore_best(template, parts=parts)
    restored = restored or checkpoints.restore_latest(template, parts=parts)
    if restored is None:
        raise FileNotFoundError(absent_checkpoints(workdir))
    return restored


def absent_checkpoints(workdir: Path) -> str:
    """Returns what is said where a trained model is wanted and no checkpoint is there."""
    way = "train first"
    if read_result(workdir):  # a training would leave it alone
        way = "bring them back from a copy, or move result.json away too and train again"
    return f"{(workdir / 'checkpoints').resolve()} holds no checkpoint: {way}"
