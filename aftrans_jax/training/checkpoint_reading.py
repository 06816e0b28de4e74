"""Reading checkpoints: which are intact, damaged, or fit a model. Changes nothing on disk."""

import os
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax.serialization import from_state_dict, to_state_dict
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.experimental import multihost_utils

from aftrans_jax.json_files import read_json

Arrays = dict[str, np.ndarray]
_LOSS_SCALE = "loss_scale/"  # only float16 has one


class DamagedCheckpointError(ValueError):
    """A checkpoint whose files can be read, but do not hold what was written."""


class VanishedCheckpointError(FileNotFoundError):
    """A checkpoint deleted while it was being read, as a training deletes older ones."""


class Restored(NamedTuple):
    """A state on the host, or a part of it; its step; its scores, empty where it has none."""

    state: Any
    step: int
    scores: Mapping[str, float]


def flat_arrays(state: Any) -> Arrays:
    """Returns host copies of a state's unsharded arrays by path, such as "params/vit/cls".

    Copies even on CPU, where device_get may alias a buffer that is donated to the next step. Every
    process takes part, since each may hold a shard of an array.
    """
    flat = flatten_dict(to_state_dict(state), sep="/")
    return {path: np.array(jax.device_get(_unsharded(x))) for path, x in flat.items()}


def _unsharded(array: Any) -> Any:
    """Returns the array with all its shards here; those of other processes are fetched."""
    if not isinstance(array, jax.Array) or array.is_fully_addressable or array.is_fully_replicated:
        return array
    return multihost_utils.process_allgather(array, tiled=True)


def checksum(arrays: Mapping[str, np.ndarray]) -> int:
    """Returns the CRC-32 over paths, types, shapes and contents; orbax verifies none."""
    crc = 0
    for path, array in sorted(arrays.items()):
        crc = zlib.crc32(f"{path} {array.dtype} {array.shape}".encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, crc)
    return crc


def read_arrays(folder: Path) -> Arrays:
    """Returns the arrays of a checkpoint by path, as they were written.

    Raises:
      DamagedCheckpointError: its files can be read, but are not what was written.
      VanishedCheckpointError: it is gone.
      OSError: a file cannot be read; whether it is damaged is unknown.
    """
    try:
        return _decode(folder)
    except Exception:  # whatever orbax and its libraries raise
        _check_readable(folder)
    try:
        return _decode(folder)  # try again: the error may have been temporary
    except Exception as error:
        if not folder.is_dir():
            raise VanishedCheckpointError(f"{folder} is gone") from error
        reason = str(error).strip().partition("\n")[0][:200]
        raise DamagedCheckpointError(reason or type(error).__name__) from error


def first_intact(
    directory: Path,
    known: Collection[int],
    choose: Callable[[Collection[int]], int | None],
    known_again: Callable[[], Collection[int]],
) -> tuple[tuple[int, Arrays] | None, dict[int, str]]:
    """Returns the number and arrays of a checkpoint, None where none is, and damage by number.

    The first process looks for it; all processes take part and get the same one.

    Args:
      directory: folder of the checkpoints.
      known: numbers of the checkpoints.
      choose: picks the wanted number of several, or None.
      known_again: returns the numbers anew when one was deleted meanwhile.

    Raises:
      ValueError: another process cannot read what the first one has read.
      OSError: the choice cannot be read, and so may be sound.
    """
    found = None
    damaged = {}
    looks = jax.process_index() == 0
    while looks and not found and (number := choose(set(known) - damaged.keys())) is not None:
        try:
            found = number, read_arrays(directory / str(number))
        except VanishedCheckpointError:
            known = known_again()
        except DamagedCheckpointError as error:
            damaged[number] = str(error)
    agreed = int(multihost_utils.broadcast_one_to_all(np.int32(found[0] if found else -1)))
    if agreed >= 0 and not looks:
        try:
            found = agreed, read_arrays(directory / str(agreed))
        except (DamagedCheckpointError, VanishedCheckpointError) as error:
            raise ValueError(
                f"checkpoint {agreed} in {directory} is intact for the first process and not for "
                f"this one: {error}. All processes need the same --workdir, on a disk that they "
                "share"
            ) from error
    return found, damaged


def fit(arrays: Arrays, template: Any, prefixes: Sequence[str] = ("",)) -> Any:
    """Returns the template with its arrays replaced by those given.

    A loss scale, which only float16 has, is dropped or kept from the template as needed.

    Args:
      arrays: arrays of the checkpoint, by path.
      template: tree with the paths, shapes and types that are wanted.
      prefixes: prefixes of the paths to read, which are removed; later ones override.

    Raises:
      ValueError: paths, shapes or types differ; names a few.
    """
    arrays = {
        path.removeprefix(prefix): array
        for prefix in prefixes
        for path, array in arrays.items()
        if path.startswith(prefix)
    }
    flat = flatten_dict(to_state_dict(template), sep="/", keep_empty_nodes=True)
    wanted: dict[str, Any] = dict(flatten_dict(to_state_dict(template), sep="/"))
    scale = {path: x for path, x in wanted.items() if path.startswith(_LOSS_SCALE)}
    found = scale | {
        path: x for path, x in arrays.items() if path in wanted or not path.startswith(_LOSS_SCALE)
    }
    problems = [f"{path} is not in this model" for path in sorted(found.keys() - wanted.keys())]
    problems += [f"{path} is missing" for path in sorted(wanted.keys() - found.keys())]
    for path in sorted(found.keys() & wanted.keys()):
        stored, expected = (f"{x.shape} {x.dtype}" for x in (found[path], wanted[path]))
        if stored != expected:
            problems.append(f"{path} is {stored}, in this model {expected}")
    if problems:
        raise ValueError(f"{'; '.join(problems[:3])} ({len(problems)} differences)")
    return from_state_dict(template, unflatten_dict(flat | found, sep="/"))


def _decode(folder: Path) -> Arrays:
    def is_sound(value: Any) -> bool:
        return isinstance(value, dict) and isinstance(value.get("crc32"), int)

    meta = read_json(folder / "meta" / "metadata", is_sound, "a checksum")
    own = jax.process_index()  # only the first process may read, so none may wait for others
    alone = ocp.options.MultiprocessingOptions(primary_host=own, active_processes={own})
    with ocp.StandardCheckpointer(multiprocessing_options=alone) as reader:
        stored = reader.restore(folder / "state")
    arrays = {path: np.asarray(x) for path, x in flatten_dict(stored, sep="/").items()}
    if checksum(arrays) != meta["crc32"]:
        raise ValueError("its checksum does not match: a file has changed since it was written")
    return arrays


def _check_readable(folder: Path) -> None:
    """Raises OSError where a file cannot be read, VanishedCheckpointError where all are gone."""

    def refuse(error: OSError) -> None:
        raise error

    try:
        for parent, _, names in os.walk(folder, onerror=refuse):
            for name in names:
                with open(os.path.join(parent, name), "rb") as file:
                    while file.read(1 << 24):
                        pass
    except FileNotFoundError as error:
        if not folder.is_dir():
            raise VanishedCheckpointError(f"{folder} is gone") from error
