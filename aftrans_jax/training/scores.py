"""Records about each checkpoint: its scores, and whether the loss was still in its range."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from aftrans_jax.json_files import DamagedRecordError, read_json, write_json


class Scores:
    """Scores of all checkpoints, in one small file that the first process writes.

    `sound` means that the loss was finite and in its range when the checkpoint was written. The
    records of a checkpoint stay when it is deleted for newer ones.
    """

    def __init__(
        self,
        path: Path,
        *,
        say: Callable[[str], None],
        best_by: str | None = None,
        protocol: str = "",
    ) -> None:
        """Reads the file; a damaged one is reported and taken for an empty one.

        Args:
          path: path of the file, which need not exist.
          say: shows a line to the user.
          best_by: key of the score by which a training picks its best checkpoint, recorded with
            each; None where it picks none. To only read, leave it out: the recorded one is used.
          protocol: how a training with `best_by` evaluates, recorded with each score; scores made
            otherwise do not count.
        """
        self._path = path
        self._best_by = best_by
        self._protocol = protocol
        self._say = say
        self.read_again()

    def read_again(self) -> None:
        """Reads the file again, since another process may have written it."""
        try:
            self._known = _read(self._path)
        except DamagedRecordError as error:
            self._say(f"{error}. Going on without the scores of the checkpoints so far")
            self._known = {}

    def of(self, number: int) -> Mapping[str, float] | None:
        """Returns the scores of a checkpoint, None where it has none that count."""
        facts = self._known.get(number, {})
        scores = facts.get("scores")
        if scores is None or (self._best_by and facts.get("protocol") != self._protocol):
            return None
        return {key: math.nan if value is None else value for key, value in scores.items()}

    def begin(self, number: int, *, sound: bool) -> None:
        """Records a checkpoint that is about to be written, replacing an earlier record."""
        facts = {"sound": sound, "best_by": self._best_by, "protocol": self._protocol}
        self._known[number] = facts
        self._write()

    def note(self, number: int, scores: Mapping[str, float], *, is_due: bool = True) -> None:
        """Records the scores of a checkpoint.

        Args:
          number: number of the checkpoint.
          scores: scores of its evaluation.
          is_due: whether it was one of the regular evaluations, which `waited` counts; a longer run
            would not have had the one at the end.
        """
        facts = self._known.setdefault(number, {})
        facts |= {"scores": dict(scores), "is_due": is_due, "protocol": self._protocol}
        self._write()

    def _write(self) -> None:
        if jax.process_index() == 0:
            known = {str(key): facts for key, facts in sorted(self._known.items())}
            write_json(self._path, {"checkpoints": known})

    def forget_after(self, number: int) -> None:
        """Forgets all checkpoints after this one; the file changes when it is next written."""
        self._known = {key: facts for key, facts in self._known.items() if key <= number}

    def best(self, numbers: Collection[int]) -> int | None:
        """Returns the checkpoint with the highest finite score, the newest of equal ones.

        None where there is no such score, or the training did not use one.
        """
        newest = self._known.get(max(self._known, default=0), {})
        best_by = self._best_by or newest.get("best_by")
        protocol = newest.get("protocol")
        scored = {
            number: (self.of(number) or {}).get(best_by or "")
            for number in numbers
            if self._best_by or self._known.get(number, {}).get("protocol") == protocol
        }
        finite = [
            (score, number)
            for number, score in scored.items()
            if score is not None and math.isfinite(score)
        ]
        return max(finite)[1] if finite else None

    def waited(self, number: int) -> int:
        """Returns how many evaluations in a row, up to a batch, did not improve the best score."""
        waited = 0
        best = -math.inf
        for key in sorted(key for key in self._known if key <= number):
            facts = self._known[key]
            if (facts.get("best_by"), facts.get("protocol")) != (self._best_by, self._protocol):
                # Scores of another kind do not compare.
                waited = 0
                best = -math.inf
            if (scores := self.of(key)) is not None and facts.get("is_due", True):
                score = scores.get(self._best_by or "", math.nan)
                waited, best = (0, score) if score > best else (waited + 1, best)
        return waited

    def newest_sound(self, numbers: Collection[int]) -> int | None:
        """Returns the newest checkpoint from before the loss left its range."""
        sound = (number for number in numbers if self._known.get(number, {}).get("sound"))
        return max(sound, default=None)


class PreservationPolicy:
    """Orbax's preservation policy: the newest two, the best if any, and the newest sound one."""

    def __init__(self, scores: Scores) -> None:
        """Takes the scores of the checkpoints."""
        self._scores = scores

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        """Returns for each checkpoint, in ascending order, whether it is kept."""
        del context
        present = [info.step for info in checkpoints]
        kept = {
            *present[-2:],
            self._scores.best(present),
            self._scores.newest_sound(present[:-1]),  # an earlier one, whether or not the newest is
        }
        return [number in kept for number in present]


def _read(path: Path) -> dict[int, dict[str, Any]]:
    def is_known(number: str, facts: Any) -> bool:
        if not (number.isascii() and number.isdecimal() and isinstance(facts, dict)):
            return False
        named = all(isinstance(facts.get(key), str | None) for key in ("best_by", "protocol"))
        return isinstance(facts.get("scores", {}), dict) and named

    def is_sound(value: Any) -> bool:
        known = value.get("checkpoints") if isinstance(value, dict) else None
        return isinstance(known, dict) and all(is_known(*entry) for entry in known.items())

    try:
        content = read_json(path, is_sound, "scores by checkpoint")
    except FileNotFoundError:
        return {}
    return {int(number): facts for number, facts in content["checkpoints"].items()}
