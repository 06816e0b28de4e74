"""Any file of ViT weights that is understood -> arrays by official name, and where they come from.

A source is a path, a folder of Hugging Face, an official name, or a name of the hub.
"""

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from aftrans_jax.weights.arrays import AnyArrays, naming
from aftrans_jax.weights.download import weights_file
from aftrans_jax.weights.formats import file_format
from aftrans_jax.weights.hub import hub_notes
from aftrans_jax.weights.layouts import official_names
from aftrans_jax.weights.names import HUB, is_downloaded, weights_name
from aftrans_jax.weights.npz import WHOLE_MODEL, open_npz, record_of
from aftrans_jax.weights.origins import Origin, converted_origin, from_text, origin
from aftrans_jax.weights.pytorch import open_torch
from aftrans_jax.weights.safetensor_files import open_safetensors
from aftrans_jax.weights.sidecar_files import Told, check_model_name, told_beside
from aftrans_jax.weights.state_dicts import from_state_dict, size_of

READERS = MappingProxyType({"npz": open_npz, "safetensors": open_safetensors, "torch": open_torch})


class Weights(NamedTuple):
    """Arrays by official name, a line for each thing that was changed, and their origin."""

    arrays: AnyArrays
    notes: tuple[str, ...]
    origin: Origin


@contextlib.contextmanager
def open_weights(source: str, *, heads: int | None = None) -> Iterator[Weights]:
    """Yields the weights of a source; the arrays can be read within the context.

    Errors within the context get the source's name, where they are ValueErrors.

    Args:
      source: see above.
      heads: of the attention of a state dict; None: told by what lies beside it, or assumed.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is not understood, damaged, or of a model that computes another function.
      OSError: it is to be downloaded and cannot be.
    """
    with naming(source):
        path = weights_file(source)
        with _kept(source, path):
            form = file_format(path)
            with READERS[form](path) as arrays:
                yield _weights(arrays, path, source, form, heads)


@contextlib.contextmanager
def _kept(source: str, path: Path) -> Iterator[None]:
    """Names the file of the cache where a damaged one is to be downloaded again."""
    try:
        yield
    except ValueError as error:
        if "download" not in str(error) or not is_downloaded(source):
            raise
        # The hub's library has links to its files, and would make a deleted link again.
        file = path.resolve()
        raise ValueError(f"{error} (kept in {file}: delete it and start again)") from error


def _weights(arrays: AnyArrays, path: Path, source: str, form: str, heads: int | None) -> Weights:
    name = weights_name(source)
    if WHOLE_MODEL in arrays:
        raise ValueError(
            "it is a whole trained model, not a trunk: `python -m aftrans_jax.export "
            f"--workdir={shlex.quote(source)} --format=npz` writes its trunk; take that file"
        )
    # Nobody writes one beside an npz.
    told = Told() if form == "npz" else told_beside(path, size_of(arrays))
    converted = from_state_dict(arrays, heads=heads or told.heads)
    if converted is not None:
        check_model_name(name, "" if source.startswith(HUB) else "; rename it if it is one")
        found = converted_origin(name, converted.naming, told)
        notes = (*converted.notes, *told.notes, *hub_notes(source, path))
        return Weights(converted.arrays, notes, found)
    if heads:
        raise ValueError(
            f"--heads={heads}: its arrays have the official names, whose shapes tell the heads: "
            "leave it out"
        )
    official = official_names(arrays)
    recorded = from_text(record_of(path)) if form == "npz" else None
    found = recorded or origin(name, big_vision=official.big_vision)
    return Weights(official.arrays, official.notes, found)
