"""TensorBoard's event files, read without TensorFlow."""

import io

import numpy as np
import pytest
from PIL import Image


def skip_where_there_is_none():
    for name in ("tensorflow", "tensorboard"):
        pytest.importorskip(name, reason="TensorBoard's files are written by TensorFlow")


def summaries(workdir):
    """Step and value by tag, of a run that was not resumed."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    (path,) = (workdir / "tensorboard").iterdir()
    events = EventFileLoader(str(path)).Load()
    return {value.tag: (event.step, value) for event in events for value in event.summary.value}


def settings(found):
    """The hyper-parameters by name."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    _, value = found["_hparams_/session_start_info"]
    data = HParamsPluginData.FromString(value.metadata.plugin_data.content)
    return data.session_start_info.hparams


def image(value):
    """The pixels of an image."""
    width, height, encoded = value.tensor.string_val
    pixels = np.asarray(Image.open(io.BytesIO(encoded)))
    assert pixels.shape[:2] == (int(height), int(width))
    return pixels
