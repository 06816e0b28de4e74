"""TensorBoard's event files, written by tensorboardX: neither TensorFlow nor TensorBoard is needed.

Import it only where TensorBoard is asked for: where PyTorch is installed, tensorboardX imports it.
"""

import contextlib
import io
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2, summary_pb2
from tensorboardX.summary import hparams as hparams_summaries

from aftrans_jax.files import with_filename

# Messages are made when their module is imported, which type checkers cannot see.
Event: Any = vars(event_pb2)["Event"]
Summary: Any = vars(summary_pb2)["Summary"]


class EventFile:
    """One event file, with the methods of CLU's `MetricWriter` that this program calls.

    CLU's own writer needs TensorFlow, and so does importing its interface. tensorboardX's writers
    delay what was to be flushed and rename tags, so only its records and messages are used.
    Everything written is in the file when a method returns.
    """

    def __init__(self, logdir: Path) -> None:
        """Takes the folder; the first write makes it where it is missing, and the file."""
        self._path = logdir
        self._writer: EventsWriter | None = None

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes values by tag; NaN and infinity as they are."""
        self._write(
            step,
            [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()],
        )

    def write_images(
        self, step: int, images: Mapping[str, UInt8[np.ndarray, "height width 3"]]
    ) -> None:
        """Writes images by tag, as JPEG; characters of tags that are not Unicode are escaped."""
        values = []
        for tag, image in images.items():
            Image.fromarray(image).save(file := io.BytesIO(), "jpeg", quality=88)
            height, width, _ = image.shape
            shown = Summary.Image(height=height, width=width, colorspace=3)
            shown.encoded_image_string = file.getvalue()
            values.append(Summary.Value(tag=_unicode(tag), image=shown))
        self._write(step, values)

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Writes hyper-parameters: numbers, truth values, and text, escaped as tags are."""
        plain = {
            key: _unicode(value) if isinstance(value, str) else value
            for key, value in hparams.items()
        }
        # The first summary would list metrics; without it TensorBoard lists those in the file.
        start = hparams_summaries(plain, {})[1]
        self._write(0, start.value)

    def close(self) -> None:
        """Closes the file; nothing can be written afterwards."""
        if self._writer is not None:
            with self._errors_named():
                self._writer.close()

    def _write(self, step: int, values: Any) -> None:
        event = Event(wall_time=time.time(), step=step, summary=Summary(value=values))
        with self._errors_named():
            if self._writer is None:
                self._path.mkdir(parents=True, exist_ok=True)
                self._writer = EventsWriter(str(self._path / "events"), f".{os.getpid()}")
            self._writer.write_event(event)
            self._writer.flush()

    @contextlib.contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise with_filename(error, self._path) from None


def _unicode(text: str) -> str:
    """Returns text with characters escaped that are not Unicode, as in non-UTF-8 file names."""
    return text.encode(errors="backslashreplace").decode()
