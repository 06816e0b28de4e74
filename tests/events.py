"""TensorBoard's event files, as TensorBoard reads them; TensorFlow is not needed for that."""

import io

import numpy as np
import pytest
from PIL import Image


def accumulated(workdir, folder="tensorboard"):
    """What TensorBoard itself finds in the folder of a run."""
    name = "tensorboard.backend.event_processing.event_accumulator"
    module = pytest.importorskip(name, reason="TensorBoard, which reads the files, is absent")
    found = module.EventAccumulator(str(workdir / folder), size_guidance={"images": 0})
    return found.Reload()


def settings(found):
    """The hyper-parameters by name."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    content = found.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    return HParamsPluginData.FromString(content).session_start_info.hparams


def pictures(found):
    """Step and pixels by tag."""
    images = {}
    for tag in found.Tags()["images"]:
        (event,) = found.Images(tag)
        pixels = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
        assert pixels.shape[:2] == (event.height, event.width)
        images[tag] = (event.step, pixels)
    return images
