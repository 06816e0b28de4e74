"""Reads ViT weights from any known source: arrays by official name, and how they were trained.

A source is the path of a file or of a folder of Hugging Face, an official name such as
"imagenet21k/ViT-B_16", or a name of the hub such as "hf:timm/vit_base_patch16_224.augreg_in21k".
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from aftrans_jax.weights.arrays import AnyArrays, naming
from aftrans_jax.weights.download import official_file
from aftrans_jax.weights.formats import file_format
from aftrans_jax.weights.hub import hub_file, hub_notes
from aftrans_jax.weights.layouts import official_names
from aftrans_jax.weights.names import FOLDER_FILES, HUB, is_downloaded, is_official, weights_name
from aftrans_jax.weights.npz import open_npz, record_of
from aftrans_jax.weights.origins import Origin, converted_origin, from_text, npz_origin
from aftrans_jax.weights.pytorch import open_torch
from aftrans_jax.weights.safetensor_files import open_safetensors
from aftrans_jax.weights.sidecar_files import (
    SidecarConfig,
    check_model_name,
    sidecar_config,
)
from aftrans_jax.weights.state_dicts import from_state_dict, size_of
from aftrans_jax.weights.whole_models import WholeModel, whole_model

READERS = MappingProxyType({"npz": open_npz, "safetensors": open_safetensors, "torch": open_torch})


class Weights(NamedTuple):
    """Arrays by official name, a line for each change made to them, and their origin.

    `whole` is the trained model that they are the trunk of, None of others.
    """

    arrays: AnyArrays
    notes: tuple[str, ...]
    origin: Origin
    whole: WholeModel | None = None


def weights_file(source: str) -> Path:
    """Returns the file of a source, downloaded the first time; that of a path need not exist.

    In a folder it is the file of weights by Hugging Face's name.

    Raises:
      FileNotFoundError, ValueError, OSError: see `official_file` and `hub_file`.
    """
    if source.startswith(HUB):
        return hub_file(source)
    if is_official(source):
        return official_file(source)
    inside = [Path(source, name) for name in FOLDER_FILES]
    return next((path for path in inside if path.is_file()), Path(source))


@contextlib.contextmanager
def open_weights(source: str, *, heads: int | None = None) -> Iterator[Weights]:
    """Yields the weights of a source; the arrays can be read within the context.

    ValueErrors within the context get the source's name.

    Args:
      source: source of weights, see above.
      heads: number of attention heads in a state dict; None: from the configuration beside it, or
        assumed.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is unknown, damaged, or of a model that computes another function.
      OSError: it cannot be downloaded.
    """
    with naming(source):
        path = weights_file(source)
        with _kept(source, path):
            form = file_format(path)
            with READERS[form](path) as arrays:
                yield _weights(arrays, path, source, form, heads)


@contextlib.contextmanager
def _kept(source: str, path: Path) -> Iterator[None]:
    """Adds the file's place in the cache to errors that ask to download it again."""
    try:
        yield
    except ValueError as error:
        if "download" not in str(error) or not is_downloaded(source):
            raise
        # The hub's library keeps links to its files, and would make a deleted link again.
        file = path.resolve()
        raise ValueError(f"{error} (kept in {file}: delete it and start again)") from error


def _weights(arrays: AnyArrays, path: Path, source: str, form: str, heads: int | None) -> Weights:
    name = weights_name(source)
    if (whole := whole_model(arrays)) is not None:
        arrays = whole.trunk
    # npz files have no configuration beside them.
    sidecar = SidecarConfig() if form == "npz" else sidecar_config(path, size_of(arrays))
    converted = from_state_dict(arrays, heads=heads or sidecar.heads)
    if converted is not None:
        check_model_name(name, "" if source.startswith(HUB) else "; rename it if it is one")
        notes = (*converted.notes, *sidecar.notes, *hub_notes(source, path))
        origin = converted_origin(name, converted.naming, sidecar)
        return Weights(converted.arrays, notes, origin)
    if heads:
        raise ValueError(
            f"--heads={heads}: its arrays have the official names, whose shapes tell the heads: "
            "leave it out"
        )
    official = official_names(arrays)
    recorded = whole.origin if whole else from_text(record_of(path)) if form == "npz" else None
    origin = recorded or npz_origin(name, big_vision=official.big_vision)
    return Weights(official.arrays, official.notes, origin, whole)
