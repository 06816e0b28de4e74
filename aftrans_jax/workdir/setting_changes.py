"""Changed settings of a run: what a finished one takes of them, and what is said of the rest."""

import shlex
from pathlib import Path

from aftrans_jax.training.records import write_json
from aftrans_jax.workdir.record import Changes, configured, trained_settings

# What a finished run takes: where its data were moved, and that it is no longer after all.
_KEPT = ("data.dir", "train.steps", "train.epochs")


def applied(found: Changes) -> list[str]:
    """Returns what is said of changed settings that a run goes on with, a line each."""
    return [f"note: {key} was {old!r}, is now {new!r}" for key, (old, new) in found.items()]


def unapplied(workdir: Path, found: Changes) -> list[str]:
    """Returns what is said of changed settings of a finished run, which takes few of them."""
    left = {key: f"{key}={new}" for key, (_, new) in found.items() if key not in _KEPT}
    scoring = [f"--config.{left[key]}" for key in ("eval.logits", "eval.mirror") if key in left]
    lines = applied({key: pair for key, pair in found.items() if key in _KEPT})
    if left:
        lines.append(f"note: not applied, since the run is finished: {', '.join(left.values())}")
    if scoring:
        command = shlex.join(["--mode=eval", f"--workdir={workdir}", *scoring])
        lines.append(f"note: to score it so, give {command}")
    return lines


def record_kept(workdir: Path, found: Changes) -> None:
    """Writes what a finished run takes of changed settings, and nothing else of them."""
    kept = {key: new for key, (_, new) in found.items() if key in _KEPT}
    if kept:
        settings = configured(trained_settings(workdir) | kept)
        write_json(workdir / "config.json", settings.to_dict())
