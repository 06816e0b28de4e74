"""A trained model as a function of photos: decoding ahead, batches split over the devices."""

import collections
import itertools
import operator
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache, partial
from typing import Any, NamedTuple, overload

import jax
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import UInt8

from aftrans_jax.experiment.model import MODELS
from aftrans_jax.inference.batch_outputs import batch_outputs
from aftrans_jax.inference.options import BATCH_SIZE
from aftrans_jax.inference.prediction import Prediction, box_on_photo, heading
from aftrans_jax.inference.preprocessing import (
    PhotoLike,
    Prepared,
    is_one,
    one_by_one,
    prepare,
    prepared,
)
from aftrans_jax.inference.trained_model import Trained
from aftrans_jax.model.devices import local_devices
from aftrans_jax.training import sharding
from aftrans_jax.training.memory import oom_remedy

_Loaded = tuple[PhotoLike, Prepared | Exception]
_FORKED = (
    "the model was loaded before this process was forked, in which JAX waits for ever: start "
    "processes by multiprocessing.get_context('spawn'), or give many photos to one call, which "
    "takes several threads"
)
_Outputs = Callable[[Mapping[str, Any], UInt8[np.ndarray, "batch size size 3"]], dict[str, Any]]


class PhotoPrediction(NamedTuple):
    """A photo, its prediction or why it could not be read, and the image that the model took."""

    photo: PhotoLike
    prediction: Prediction | Exception
    image: UInt8[np.ndarray, "size size 3"] | None


class Classifier:
    """Names photos with a trained model: `model("a.jpg")`, `model(["a.jpg", "b.jpg"])`.

    A photo is a path, an image of PIL's, or an array uint8 [height width 3]. One gives a
    `Prediction`, several, or one array [photos height width 3], a list of them in their order.

    All devices of this process share each batch; where `jax.default_device` is set to one of them
    when the model is loaded, that one works alone. At most two programs are compiled, each at its
    first use: for one photo, and for batches of `batch_size`, to which fewer are filled up; both
    are rounded up, since every device gets the same number.

    Attributes:
      name: name of the model, a value of `model.name`.
      module: the Flax module.
      params: its parameters, float32, on each of these devices.
      class_names: names of the classes, in the order of the head.
      heads: logits that the model has: "global", or also "local" and "sum".
      head: logits that predict.
      image_size: side in pixels of the square that a photo becomes.
      batch_size: number of photos in a batch, before it is rounded up.
      result: contents of the run's result.json: accuracies, settings, versions; only "step" where
        the file is missing, damaged or of another step.
    """

    def __init__(
        self,
        trained: Trained,
        *,
        head: str | None = None,
        batch_size: int = BATCH_SIZE,
        wanted: Collection[str] = ("box", "relevance", "gates", "crop"),
    ) -> None:
        """Puts a model on each device.

        Args:
          trained: the model.
          head: logits that predict; None for those that the run reports.
          batch_size: number of photos in a batch of all devices together, at least 1.
          wanted: what predictions have of the region, see `batch_outputs`. Where nothing is wanted
            and `head` is "global", predictions have these logits alone: one pass without a crop.

        Raises:
          ValueError: the model has no such head, or the batch size is not positive.
        """
        self.heads = MODELS[trained.name].heads
        self.head = trained.head if head is None else head
        if self.head not in self.heads:
            raise ValueError(
                f"head={head!r}: the model is {trained.name!r}, whose heads are "
                f"{', '.join(self.heads)}; choose one of them"
            )
        if operator.index(batch_size) < 1:
            raise ValueError(f"batch_size={batch_size}: expected 1 or more")
        self.name = trained.name
        self.module = trained.model
        self.class_names = trained.class_names
        self._mesh = sharding.device_mesh(local_devices())
        everywhere = NamedSharding(self._mesh, sharding.REPLICATED)
        # A pool would lose an error that is raised here, where it unpickles, and wait for ever.
        forked = _is_forked()
        self.params = trained.params if forked else jax.device_put(trained.params, everywhere)
        self.image_size = trained.sizes["image_size"]
        self.batch_size = batch_size
        self.result = trained.result
        self._trained = trained
        self._wanted = wanted
        self._outputs: _Outputs = sharding.per_device(
            partial(batch_outputs, self.module, self.head, wanted, mirror=trained.mirror),
            self._mesh,
            arguments=(sharding.REPLICATED, sharding.BATCH_SPLIT),
            results=sharding.BATCH_SPLIT,
        )

    @overload
    def __call__(self, photos: PhotoLike) -> Prediction: ...
    @overload
    def __call__(self, photos: Iterable[PhotoLike]) -> list[Prediction]: ...
    def __call__(self, photos: PhotoLike | Iterable[PhotoLike]) -> Prediction | list[Prediction]:
        """Returns the prediction for one photo, or a list of those for several, in their order.

        Raises:
          OSError, ValueError: a photo cannot be read, or an array is not [height width 3]; or one
            path is a folder's or a glob.
          TypeError: something is no photo, or its pixels are not uint8.
        """
        single = is_one(photos)
        several = np.asarray(photos) if isinstance(photos, jax.Array) else photos
        predictions = []
        for _, prediction, _ in self.photo_predictions(
            one_by_one(several), batch_size=1 if single else self.batch_size
        ):
            if isinstance(prediction, Exception):
                raise prediction
            predictions.append(prediction)
        return predictions[0] if single else predictions

    def stream(
        self, photos: PhotoLike | Iterable[PhotoLike]
    ) -> Iterator[tuple[PhotoLike, Prediction | Exception]]:
        """Yields each photo with its prediction, or with the error if it cannot be read.

        For more photos than fit into memory: at most four batches of them are held at a time. One
        photo is taken as a list of one.

        Raises:
          TypeError: something is no photo, or its pixels are not uint8.
          ValueError: one path is a folder's or a glob.
        """
        return ((one.photo, one.prediction) for one in self.photo_predictions(one_by_one(photos)))

    def photo_predictions(
        self, photos: Iterable[PhotoLike], *, batch_size: int | None = None
    ) -> Iterator[PhotoPrediction]:
        """Yields what `stream` does, with the images as the model took them."""
        load = partial(prepare, sizes=self._trained.sizes, max_pixels=self._trained.max_pixels)
        for (photo, loaded), row in self.in_batches(photos, load, batch_size or self.batch_size):
            if isinstance(loaded, Exception):
                yield PhotoPrediction(photo, loaded, None)
            else:
                yield PhotoPrediction(photo, self._prediction(photo, loaded, row), loaded.image)

    def in_batches(
        self, photos: Iterable[PhotoLike], load: Callable[[Any], Prepared], size: int
    ) -> Iterator[tuple[_Loaded, dict[str, Any]]]:
        """Yields each photo with what `load` makes of it, or its error, and its `batch_outputs`.

        Threads load two batches ahead, and one batch of `size` photos, rounded up to the number of
        devices, is on them while the outputs for the one before it are fetched. Those of a photo
        with an error mean nothing.

        Raises:
          RuntimeError: a model was loaded before this process was forked, or a device is full.
        """
        if _is_forked():
            raise RuntimeError(_FORKED)
        size = sharding.rounded_up(size, self._mesh)
        loaded = prepared(photos, load, ahead=2 * size)
        running = collections.deque()
        with oom_remedy(self._oom_remedy(size)):
            while chunk := list(itertools.islice(loaded, size)):
                batch = np.zeros((size, self.image_size, self.image_size, 3), np.uint8)
                for image, (_, photo) in zip(batch, chunk, strict=False):
                    if not isinstance(photo, Exception):
                        image[:] = photo.image
                # Where it is compiled, kernels are chosen by the default device.
                with jax.default_device(self._mesh.devices.flat[0]):
                    running.append((chunk, self._outputs(self.params, batch)))
                if len(running) > 1:
                    yield from _rows(*running.popleft())
            for chunk, outputs in running:
                yield from _rows(chunk, outputs)

    def __reduce__(self) -> tuple[Callable[[Trained], "Classifier"], tuple[Trained]]:
        """Pickles the arguments it was made with: another process compiles its own programs."""
        chosen = {"head": self.head, "batch_size": self.batch_size, "wanted": self._wanted}
        return partial(type(self), **chosen), (self._trained,)

    def __repr__(self) -> str:
        """Returns the model's name, its number of classes and its accuracy, as text."""
        accuracy = heading(self._trained, self.head)
        return f"<Classifier {self.name}, {len(self.class_names)} classes, {accuracy}>"

    def _oom_remedy(self, size: int) -> str:
        """Returns what needs less memory than batches of this size."""
        lower = f"lower batch_size={size}, such as by --batch_size={size // 2}, or "
        rounded = "precision=bfloat16 or " if self.module.vit.dtype == np.float32 else ""
        return f"{lower if size > self._mesh.size else ''}take {rounded}a smaller model"

    def _prediction(self, photo: PhotoLike, loaded: Prepared, row: dict[str, Any]) -> Prediction:
        whole = (0, 0, self.image_size, self.image_size)
        height = loaded.height
        width = loaded.width
        place = partial(box_on_photo, sizes=self._trained.sizes, height=height, width=width)
        return Prediction(
            photo=os.fspath(photo) if isinstance(photo, str | os.PathLike) else "",
            head=self.head,
            class_names=self.class_names,
            probabilities=row["probabilities"],
            height=height,
            width=width,
            seen=place(whole),
            box=None if row.get("box") is None else place(row["box"].tolist()),
            relevance=row.get("relevance"),
            gates=row.get("gates"),
            crop=row.get("crop"),
        )


@cache
def _first_user() -> int:
    """Returns the number of the process that made the first model, in those forked later too."""
    return os.getpid()


def _is_forked() -> bool:
    return _first_user() != os.getpid()


def _rows(
    chunk: list[_Loaded], outputs: dict[str, Any]
) -> Iterator[tuple[_Loaded, dict[str, Any]]]:
    outputs = jax.device_get(outputs)
    for index, loaded in enumerate(chunk):
        # Copies, so that a prediction that is kept does not keep its batch.
        yield loaded, jax.tree.map(lambda x, index=index: x[index].copy(), outputs)
