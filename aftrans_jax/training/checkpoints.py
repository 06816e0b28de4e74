"""Orbax checkpoints, verified when read: keeps the last two, the best one and a sound one."""

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax.traverse_util import unflatten_dict
from jax.experimental import multihost_utils

from aftrans_jax.training.checkpoint_numbers import checkpoint_numbers
from aftrans_jax.training.checkpoint_reading import (
    Arrays,
    Restored,
    checksum,
    first_intact,
    fit,
    flat_arrays,
)
from aftrans_jax.training.checkpoint_writing import check_room, quiet_orbax, writing
from aftrans_jax.training.precision import WIDER
from aftrans_jax.training.scores import PreservationPolicy, Scores


class Checkpoints:
    """The checkpoints of a training state below one directory, numbered by its batches.

    Reading changes and creates nothing, except that it can set damaged ones aside. The state is
    copied to the host first, so that the next step may reuse its buffers during writing.
    """

    def __init__(
        self,
        directory: Path,
        *,
        best_by: str | None = None,
        protocol: str = "",
        precision: str = "float32",
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Opens the directory, which need not exist.

        Args:
          directory: folder of the checkpoints.
          best_by: key of the score by which a training keeps its best one, None for none; leave it
            out to only read.
          protocol: how such a training evaluates, see `Scores`.
          precision: type that the training computes in.
          say: shows a line to the user.
        """
        self.directory = directory.resolve()
        self._say = say
        self._wider = WIDER[precision]
        path = self.directory / "scores.json"
        self.scores = Scores(path, best_by=best_by, protocol=protocol, say=say)
        self._manager: ocp.CheckpointManager | None = None
        quiet_orbax()

    @property
    def latest(self) -> int | None:
        """Returns the number of the newest checkpoint, None when there is none."""
        return max(self.numbers(), default=None)

    def numbers(self) -> list[int]:
        """Returns the numbers of all checkpoints, ascending, once they are written.

        Raises:
          OSError: a checkpoint cannot be written.
        """
        if self._manager is not None:
            with writing(self.directory):
                self._manager.wait_until_finished()
        return checkpoint_numbers(self.directory)

    def save(self, number: int, state: Any, *, sound: bool = True) -> None:
        """Starts writing the state; returns once the host holds a copy.

        Args:
          number: number of batches that the state has seen.
          state: tree of arrays, unsharded on this host.
          sound: whether the loss is in its range.

        Raises:
          FloatingPointError: a parameter is not finite, so the checkpoint would be worthless.
          OSError: the disk has no room for it.
        """
        host = flat_arrays(state)
        if not all(np.isfinite(array).all() for array in host.values()):
            raise FloatingPointError(
                f"parameters stopped being finite before batch {number}, which was not saved. "
                f"{self.recovery_advice()}"
            )
        check_room(self.directory, state)
        with writing(self.directory):
            if self._manager is None:
                self._manager = self._open()
            self.scores.begin(number, sound=sound)
            self._manager.save(
                number,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(unflatten_dict(host, sep="/")),
                    meta=ocp.args.JsonSave({"crc32": checksum(host)}),
                ),
            )

    def restore_latest(
        self, template: Any, *, prefixes: Sequence[str] = ("",), set_aside: bool = False
    ) -> Restored | None:
        """Returns the newest intact state, None when there is no checkpoint at all.

        A damaged one is reported and skipped. One that is deleted meanwhile, as a training deletes
        older ones, is skipped for a newer one. The first process chooses, and all take part.

        Args:
          template: tree of arrays with the state's paths, shapes and types.
          prefixes: prefixes of the paths to read, such as "params/", later ones override earlier
            ones; "" for all.
          set_aside: whether to move damaged ones to `broken_checkpoints` beside the directory; only
            for the training, which owns them.

        Raises:
          ValueError: all are damaged, or the newest intact one does not fit the template.
          OSError: the newest cannot be read, and so may be sound.
        """
        found, damaged = self._intact(lambda numbers: max(numbers, default=None))
        if found is None and damaged:
            newest = max(damaged)
            raise ValueError(
                f"no checkpoint in {self.directory} is intact; the newest, {newest}, says: "
                f"{damaged[newest]}. Choose another --workdir, or move the checkpoints away to "
                "start again"
            )
        return self._restored(found, damaged, template, prefixes, set_aside)

    def restore_best(
        self, template: Any, *, prefixes: Sequence[str] = ("",), set_aside: bool = False
    ) -> Restored | None:
        """Returns the saved state with the best score.

        None where the training used no score, or no remaining checkpoint was evaluated.
        See `restore_latest`.

        Raises:
          ValueError: the best checkpoint does not fit the template; or it is damaged and may not be
            set aside, so that the best of the others would take its place.
          OSError: it cannot be read.
        """
        found, damaged = self._intact(self.scores.best)
        for number, reason in () if set_aside else damaged.items():
            raise ValueError(
                f"the best checkpoint, {number}, is damaged: {reason}. Bring it back from a copy, "
                f"or delete {self.directory / str(number)}: then the best of the others answers, "
                "whose accuracy result.json does not tell"
            )
        return self._restored(found, damaged, template, prefixes, set_aside)

    def recovery_advice(self) -> str:
        """Returns how to go on after a divergence: from which checkpoint, with what settings."""
        known = self.numbers()
        sound = self.scores.newest_sound(known)
        changes = "a lower train.learning_rate or a longer train.warmup_steps"
        if sound is None:
            where = "in another --workdir" if known else "here, where nothing is saved yet"
            wider = ", or train.precision=float32" if self._wider else ""
            return (
                f"There is no checkpoint from before the loss left its range: start again {where}, "
                f"with {changes}{wider}"
            )
        ruined = [str(self.directory / str(number)) for number in known if number > sound]
        back = f"; first go back to it: rm -r {' '.join(ruined)}" if ruined else ""
        if not self._wider:  # repeating the same steps would diverge again
            return (
                f"Start again in another --workdir, with {changes}; the checkpoint of batch "
                f"{sound} here is from before the loss left its range"
            )
        return (
            f"A{changes[1:]} needs another --workdir; train.precision={self._wider} goes on "
            f"here, from the checkpoint of batch {sound}, before the loss left its range{back}"
        )

    def remove_unfinished(self) -> None:
        """Removes what a killed training left half written; only for the training."""
        if jax.process_index() == 0 and self.directory.is_dir():
            for path in self.directory.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(path)

    def close(self) -> None:
        """Waits until everything is written."""
        if self._manager is not None:
            with writing(self.directory):
                self._manager.wait_until_finished()
                self._manager.close()

    def _open(self) -> ocp.CheckpointManager:
        self.directory.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(preservation_policy=PreservationPolicy(self.scores))
        return ocp.CheckpointManager(self.directory, options=options)

    def _intact(
        self, choose: Callable[[Collection[int]], int | None]
    ) -> tuple[tuple[int, Arrays] | None, dict[int, str]]:
        def numbers_again() -> list[int]:
            self.scores.read_again()  # a training has written a newer or a better one
            return self.numbers()

        return first_intact(self.directory, self.numbers(), choose, numbers_again)

    def _restored(
        self,
        found: tuple[int, Arrays] | None,
        damaged: Mapping[int, str],
        template: Any,
        prefixes: Sequence[str],
        set_aside: bool,
    ) -> Restored | None:
        """Returns the found state, fitted to a template, after skipping the damaged ones."""
        if found is None:
            self._pass_over(damaged, None, set_aside)
            return None
        number, arrays = found
        try:
            state = fit(arrays, template, prefixes)
        except ValueError as error:
            raise ValueError(
                f"checkpoint {number} in {self.directory} does not fit this run: {error}. It was "
                "written with another model or head: choose another --workdir"
            ) from error
        self._pass_over(damaged, number, set_aside)
        return Restored(state, int(arrays["step"]), self.scores.of(number) or {})

    def _pass_over(self, damaged: Mapping[int, str], used: int | None, set_aside: bool) -> None:
        """Reports which checkpoints are damaged and which is used; None: the state as it is."""
        if set_aside:  # every process must have read what is moved now
            multihost_utils.sync_global_devices("checkpoints are read")
        for number, reason in damaged.items():
            using = "the last state" if used is None else str(used)
            self._say(f"checkpoint {number} is damaged ({reason}): using {using}")
            target = self.directory.parent / "broken_checkpoints"
            if set_aside and jax.process_index() == 0:
                target.mkdir(exist_ok=True)
                shutil.rmtree(target / str(number), ignore_errors=True)
                shutil.move(self.directory / str(number), target / str(number))
                self._say(f"checkpoint {number} was moved to {target}")
        if set_aside:
            multihost_utils.sync_global_devices("damaged checkpoints set aside")
