"""Orbax checkpoints that are checked when they are read: the last two and the best."""

import math
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN


class Checkpoints:
    """Writes and reads the training state below one directory, under the number of its batch.

    The state goes to the host first, so that the next step may reuse its buffers while the files
    are being written. A checksum is stored with it: a flipped byte would otherwise go unnoticed.
    """

    def __init__(self, directory: Path, *, best_score: str) -> None:
        """Opens or creates the directory.

        Args:
          directory: of the checkpoints.
          best_score: key of the scores given to `save` by which the best one is kept.
        """
        self.directory = directory.resolve()
        self._best_score = best_score
        self._manager = self._open()

    def _open(self) -> ocp.CheckpointManager:
        def score(scores: Mapping[str, float]) -> float:
            value = scores[self._best_score]
            return value if math.isfinite(value) else -math.inf

        best = BestN(get_metric_fn=score, n=1, keep_checkpoints_without_metrics=False)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(2), best]),
            best_fn=score,
            best_mode="max",
        )
        return ocp.CheckpointManager(self.directory, options=options)

    @property
    def latest(self) -> int | None:
        """Returns the number of the newest checkpoint, None when there is none."""
        return self._manager.latest_step()

    def save(self, number: int, state: Any, scores: Mapping[str, float] | None) -> None:
        """Starts writing the state; returns when the host holds a copy.

        Args:
          number: of batches that the state has seen.
          state: tree of arrays, whole on this host.
          scores: of an evaluation of this very state, if there was one.

        Raises:
          FloatingPointError: a parameter is not finite, so the checkpoint would be worthless.
          OSError: the disk has no room for it.
        """
        host = _to_host(state)
        _check_finite(host, number)
        _check_room(host, self.directory)
        self._manager.save(
            number,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(host),
                meta=ocp.args.JsonSave({"crc32": checksum(host)}),
            ),
            metrics=dict(scores) if scores else None,
        )

    def best_of(self, state: Any, scores: Mapping[str, float]) -> tuple[Any, Mapping[str, float]]:
        """Returns this state or the saved one with a better score, and the scores of whichever.

        Args:
          state: tree of arrays; it need not have been saved.
          scores: of this state.

        Raises:
          ValueError: the best checkpoint is broken.
        """
        best = self._best()
        if best is None or best[1][self._best_score] <= scores[self._best_score]:
            return state, scores
        return self._restore(best[0], _to_host(state)), best[1]

    def restore_best(self, template: Any) -> tuple[Any, dict[str, float]] | None:
        """Returns the saved state with the best score, on the host, and its scores.

        None where no state was saved with scores.

        Args:
          template: tree of arrays with the state's names, shapes and types.

        Raises:
          ValueError: the best checkpoint is broken.
        """
        best = self._best()
        return None if best is None else (self._restore(best[0], _to_host(template)), best[1])

    def restore_latest(self, template: Any) -> Any | None:
        """Returns the newest intact state as a tree of host arrays, None when there is none at all.

        A broken checkpoint is moved to `broken_checkpoints` beside the directory and reported. One
        kind is an empty numbered folder, as a killed writer leaves it: orbax counts it as newest.

        Args:
          template: tree of arrays with the state's names, shapes and types.

        Raises:
          ValueError: there are checkpoints and none can be used with this model.
        """
        numbers = sorted(self._manager.all_steps(), reverse=True)
        template, failures = _to_host(template), []
        for number in numbers:
            try:
                restored = self._restore(number, template)
            except (ValueError, KeyError, OSError, TypeError) as error:
                failures.append((number, str(error).strip().partition("\n")[0]))
                continue
            for broken, reason in failures:
                logging.warning("checkpoint %d is broken (%s): using %d", broken, reason, number)
                self._set_aside(broken)
            return restored
        if failures:
            raise ValueError(
                f"no checkpoint in {self.directory} fits this run; the newest, {failures[0][0]}, "
                f"says: {failures[0][1]}. Was it written with another model or head? Choose "
                "another --workdir, or move the checkpoints away to start again"
            )
        return None

    def close(self) -> None:
        """Waits until everything is written."""
        self._manager.wait_until_finished()
        self._manager.close()

    def _best(self) -> tuple[int, dict[str, float]] | None:
        """Returns the number of the checkpoint with the best score, and its scores."""
        self._manager.wait_until_finished()
        number = self._manager.best_step()
        if number is None or (scores := self._manager.metrics(number)) is None:
            return None
        return number, cast(dict[str, float], scores)

    def _restore(self, number: int, template: Any) -> Any:
        restored = self._manager.restore(
            number,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(template), meta=ocp.args.JsonRestore()
            ),
        )
        _check_shapes(restored["state"], template)
        if checksum(restored["state"]) != restored["meta"]["crc32"]:
            raise ValueError("its checksum does not match: a file has changed since it was written")
        return restored["state"]

    def _set_aside(self, number: int) -> None:
        self._manager.close()
        if jax.process_index() == 0:
            target = self.directory.parent / "broken_checkpoints"
            target.mkdir(exist_ok=True)
            shutil.move(self.directory / str(number), target / str(number))
        multihost_utils.sync_global_devices("broken checkpoint set aside")
        self._manager = self._open()


def checksum(tree: Any) -> int:
    """Returns the CRC-32 over all arrays of a host tree, in the order of its leaves.

    Orbax verifies no checksum when it restores.
    """
    crc = 0
    for leaf in jax.tree.leaves(tree):
        crc = zlib.crc32(np.ascontiguousarray(leaf).view(np.uint8).data, crc)
    return crc


def _to_host(tree: Any) -> Any:
    # A copy even on CPU, where device_get may alias a buffer that the next step is given.
    return jax.tree.map(lambda x: np.array(jax.device_get(x)), tree)


def _check_shapes(restored: Any, template: Any) -> None:
    """Orbax compares names, but hands out whatever shape was stored."""
    for (path, stored), wanted in zip(
        jax.tree.leaves_with_path(restored), jax.tree.leaves(template), strict=True
    ):
        if stored.shape != wanted.shape:
            raise ValueError(
                f"{jax.tree_util.keystr(path)} has shape {stored.shape}, this model has "
                f"{wanted.shape}"
            )


def _check_finite(host: Any, number: int) -> None:
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(host)):
        raise FloatingPointError(
            f"parameters stopped being finite before batch {number}; nothing was saved. Lower "
            "train.learning_rate or use train.precision=float32; the last checkpoint is intact"
        )


def _check_room(host: Any, directory: Path) -> None:
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(host))
    free = shutil.disk_usage(directory).free
    if free < 1.2 * needed:
        raise OSError(
            f"{directory} has {free / 1e6:.0f} MB free, a checkpoint needs {needed / 1e6:.0f} MB: "
            "free some room and run the same command again; the last checkpoint is intact"
        )
