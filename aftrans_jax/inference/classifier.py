"""A trained model as a function of photos: decoding ahead, batches of one size, predictions."""

import collections
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, cast, overload

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

from aftrans_jax.experiment.model import MODELS, Model
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
from aftrans_jax.model.aftrans import AFTrans
from aftrans_jax.model.crops import crop_and_resize
from aftrans_jax.model.outputs import Images, ModelOutput
from aftrans_jax.model.rams import RAMS
from aftrans_jax.model.views import mirrored
from aftrans_jax.training.memory import needing_less
from aftrans_jax.training.metrics import prediction_logits
from aftrans_jax.training.xla_options import xla_options

BATCH_SIZE = 16

_Answers = Callable[[Mapping[str, Any], UInt8[np.ndarray, "batch size size 3"]], dict[str, Any]]


class Answered(NamedTuple):
    """A photo, what was said of it or why it could not be read, and the image that was read."""

    photo: PhotoLike
    prediction: Prediction | Exception
    image: UInt8[np.ndarray, "size size 3"] | None


class Classifier:
    """Names photos with a trained model: `model("a.jpg")`, `model(["a.jpg", "b.jpg"])`.

    A photo is a path, an image of PIL's, or an array uint8 [height width 3]. One gives a
    `Prediction`, several, or one array [photos height width 3], a list of them in their order.

    At most two programs are compiled, each at its first use: for one photo, and for batches of
    `batch_size`, to which fewer are filled up.

    Attributes:
      name: of the model, a value of `model.name`.
      module, params: the Flax module, float32, and its parameters.
      class_names: in the order of the head.
      heads: what one can predict from: "global", or also "local" and "sum".
      head: the one that answers.
      image_size: side in pixels of the square that a photo becomes.
      batch_size: photos in a batch.
      result: what result.json of the run holds: accuracies, settings, versions; "step" alone where
        that is of another step.
    """

    def __init__(
        self,
        trained: Trained,
        *,
        head: str | None = None,
        batch_size: int = BATCH_SIZE,
        whole: bool = True,
        crops: bool = True,
    ) -> None:
        """Takes a model to one device.

        Args:
          trained: the model.
          head: the logits that answer; None for those that the run reports.
          batch_size: photos in a batch, at least 1.
          whole: whether all that is known of a photo is wanted; otherwise the answer of `head`
            alone, which for "global" takes one pass without a crop.
          crops: whether the pixels of the crops are wanted.

        Raises:
          ValueError: the model has no such head, or the batch size is not positive.
        """
        self.heads = MODELS[trained.name].logits
        self.head = head or trained.predict_from
        if self.head not in self.heads:
            raise ValueError(
                f"head={head!r}: the model is {trained.name!r}, whose heads are "
                f"{', '.join(self.heads)}; choose one of them"
            )
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: expected 1 or more")
        self.name, self.module, self.class_names = trained.name, trained.model, trained.class_names
        self.params = jax.device_put(trained.params)
        self.image_size, self.batch_size = trained.sizes["image_size"], batch_size
        self.result, self._trained = trained.result, trained
        passes = "global" if self.head == "global" and not whole else "both"
        self._answers: _Answers = jax.jit(
            partial(answers, self.module, passes, crops, mirror=trained.mirror),
            compiler_options=xla_options(jax.default_backend()),
        )

    @overload
    def __call__(self, photos: PhotoLike) -> Prediction: ...
    @overload
    def __call__(self, photos: Iterable[PhotoLike]) -> list[Prediction]: ...
    def __call__(self, photos: PhotoLike | Iterable[PhotoLike]) -> Prediction | list[Prediction]:
        """Returns the prediction of one photo, or a list of those of several, in their order.

        Raises:
          OSError, ValueError: a photo cannot be read, or an array is not [height width 3]; or one
            path is a folder's or a glob.
          TypeError: something is no photo, or its pixels are not uint8.
        """
        single = is_one(photos)
        several = np.asarray(photos) if isinstance(photos, jax.Array) else photos
        found = []
        for answered in self.answered(
            one_by_one(several), batch_size=1 if single else self.batch_size
        ):
            if isinstance(answered.prediction, Exception):
                raise answered.prediction
            found.append(answered.prediction)
        return found[0] if single else found

    def stream(
        self, photos: PhotoLike | Iterable[PhotoLike]
    ) -> Iterator[tuple[PhotoLike, Prediction | Exception]]:
        """Yields each photo with its prediction, or with the error why it cannot be read.

        For more photos than fit into memory: at most four batches of them are held at a time. One
        photo is taken as a list of one.

        Raises:
          TypeError: something is no photo, or its pixels are not uint8.
          ValueError: one path is a folder's or a glob.
        """
        return ((one.photo, one.prediction) for one in self.answered(one_by_one(photos)))

    def answered(
        self, photos: Iterable[PhotoLike], *, batch_size: int | None = None
    ) -> Iterator[Answered]:
        """Yields what `stream` does, with the images as the model took them.

        Threads decode two batches ahead, and one batch is on the device while the answers to the
        one before it are taken.
        """
        size, running = batch_size or self.batch_size, collections.deque()
        load = partial(prepare, sizes=self._trained.sizes, max_pixels=self._trained.max_pixels)
        rows = prepared(photos, load, ahead=2 * size)
        with needing_less("give fewer photos at a time (batch_size), or take a smaller model"):
            while chunk := list(itertools.islice(rows, size)):
                batch = np.zeros((size, self.image_size, self.image_size, 3), np.uint8)
                for row, (_, found) in zip(batch, chunk, strict=False):
                    if not isinstance(found, Exception):
                        row[:] = found.image
                running.append((chunk, self._answers(self.params, batch)))
                if len(running) > 1:
                    yield from self._predictions(*running.popleft())
            for chunk, answers in running:
                yield from self._predictions(chunk, answers)

    def __repr__(self) -> str:
        """Says what the model is and how right its answers were."""
        said = heading(self._trained, self.head)
        return f"<Classifier {self.name}, {len(self.class_names)} classes, {said}>"

    def _predictions(
        self, chunk: list[tuple[PhotoLike, Prepared | Exception]], answers: dict[str, Any]
    ) -> Iterator[Answered]:
        answers = jax.device_get(answers)
        for index, (photo, found) in enumerate(chunk):
            if isinstance(found, Exception):
                yield Answered(photo, found, None)
                continue
            # Copies, so that a prediction that is kept does not keep its batch.
            row = jax.tree.map(lambda x, index=index: x[index].copy(), answers)
            yield Answered(photo, self._prediction(photo, found, row), found.image)

    def _prediction(self, photo: PhotoLike, found: Prepared, row: dict[str, Any]) -> Prediction:
        whole = (0, 0, self.image_size, self.image_size)
        place = partial(
            box_on_photo, sizes=self._trained.sizes, height=found.height, width=found.width
        )
        return Prediction(
            photo=os.fspath(photo) if isinstance(photo, str | os.PathLike) else "",
            head=self.head,
            class_names=self.class_names,
            probabilities=row["probabilities"],
            height=found.height,
            width=found.width,
            seen=place(whole),
            box=None if row["box"] is None else place(row["box"].tolist()),
            relevance=row["relevance"],
            gates=row["gates"],
            crop=row["crop"],
        )


def _global_pass(model: Model, params: Mapping[str, Any], images: Images) -> ModelOutput:
    logits = cast(Array, model.apply({"params": params}, images, method="predict"))
    return ModelOutput({"global": logits}, {}, None)


def _both_passes(model: Model, params: Mapping[str, Any], images: Images) -> ModelOutput:
    return cast(ModelOutput, model.apply({"params": params}, images, train=False))


_PASSES = MappingProxyType({"global": _global_pass, "both": _both_passes})


def answers(
    model: Model,
    passes: str,
    crops: bool,
    params: Mapping[str, Any],
    images: Images,
    mirror: bool = False,
) -> dict[str, Any]:
    """Returns the arrays of a batch that predictions are made of, None for what there is not.

    Args:
      model: the module.
      passes: "global", which has no region and no other head, or "both".
      crops: whether the pixels of the crops are wanted.
      params: of the module.
      images: as `Prepared` has them.
      mirror: whether the logits are the mean of an image's and its mirror image's.

    Returns:
      "probabilities" [batch classes] by head, "box", "relevance" and "gates" as in
      `model.outputs.Region`, "crop" [batch size size 3].

    Paper: end of section 2.2.2, table 4.
    """
    found = dict.fromkeys(("box", "relevance", "gates", "crop"))
    apply = partial(_PASSES[passes], model, params)
    output = (mirrored(apply) if mirror else apply)(images)
    shares = {name: jax.nn.softmax(x) for name, x in prediction_logits(output.logits).items()}
    found = found | {"probabilities": shares}
    if (region := output.region) is None:
        return found
    found |= {"box": region.box, "relevance": region.relevance, "gates": region.gate}
    if crops and isinstance(model, AFTrans | RAMS):
        pixels = jnp.asarray(images, jnp.float32)
        crop = crop_and_resize(pixels, region.box, model.local_size, model.resample)
        found["crop"] = jnp.clip(jnp.round(crop), 0, 255).astype(jnp.uint8)
    return found
