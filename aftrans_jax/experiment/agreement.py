"""Checks that all processes of a run train with the same settings, lists and weights."""

import json
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from jax.experimental import multihost_utils

from aftrans_jax.data.examples import Dataset
from aftrans_jax.key_groups import OWN_TO_HOST
from aftrans_jax.settings import flat
from aftrans_jax.training.checkpoint_reading import checksum
from aftrans_jax.workdir.image_lists import listed_images

# Lists come first: some settings follow from the number of images.
_FACTS = {
    "lists of images": "give every host the same files, such as those of a disk that all see",
    "settings": "give every process the same --config, the same keys and the same file of weights, "
    "which some of them follow from",
    "weights to start from": "give every host the same file of weights, and a --workdir on a disk "
    "that all see",
}


def check_agreement(
    settings: Mapping[str, Any], dataset: Dataset, params: Mapping[str, Any]
) -> None:
    """Raises ValueError in every process where one of them would train something else.

    Otherwise predictions would be silently wrong, or processes wait for each other forever. Every
    process has to call it. Contents of images are not compared.

    Args:
      settings: configuration as plain values.
      dataset: data set with its splits.
      params: parameters before the first step, on the host.
    """
    if jax.process_count() == 1:
        return
    shared = {key: value for key, value in flat(settings).items() if key not in OWN_TO_HOST}
    sizes = {split: len(source) for split, source in dataset.splits().items()}
    lists = [dataset.class_names, sizes, listed_images(dataset)]  # in their order
    arrays: dict[str, Any] = dict(flatten_dict(params, sep="/"))
    own = [_crc(lists), _crc(shared), checksum(arrays)]
    everyone = multihost_utils.process_allgather(np.array(own, np.uint32))
    for (what, remedy), found in zip(_FACTS.items(), everyone.T, strict=True):
        others = np.flatnonzero(found != found[0])
        if others.size:
            raise ValueError(f"process {others[0]} has other {what} than process 0: {remedy}")


def _crc(value: Any) -> int:
    return zlib.crc32(json.dumps(value).encode())
