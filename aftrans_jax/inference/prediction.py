"""A trained model's prediction for one photo, with boxes in that photo's pixels."""

import dataclasses
import operator
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from aftrans_jax.inference.trained_model import Trained

Box = tuple[int, int, int, int]  # top, left, bottom, right in pixels, half-open

_NAMES = {
    "global": "global logits",
    "local": "local logits",
    "sum": "sum of global and local logits",
}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """A prediction for a photo, and the region that it was made from.

    Boxes are (top, left, bottom, right), half-open, in whole pixels of the upright photo, from its
    top left corner: `photo[top:bottom, left:right]`. They are the smallest that contain all that
    the model read.

    Attributes:
      photo: its path, "" where it was given as an image.
      head: logits that predict: "global" of the full photo, "local" of the crop, or "sum".
      class_names: names of all classes.
      probabilities: probabilities of all classes, by head.
      height: height of the upright photo in pixels.
      width: width of the upright photo in pixels.
      seen: box of the part that the model was given: the full photo, or its middle where the run's
        `data.resize_ratio` is above 1.
      box: region that the local branch read; None for a model without one.
      relevance: gated, fused attention >= 0 of each patch, in rows spread evenly over `seen`.
      gates: weight of each layer in [0, 1], 0 for layers that are not fused; None without gates.
      crop: pixels that the local branch read, resized to its square, RGB.
    """

    photo: str
    head: str
    class_names: tuple[str, ...]
    probabilities: Mapping[str, Float[np.ndarray, " classes"]]
    height: int
    width: int
    seen: Box
    box: Box | None
    relevance: Float[np.ndarray, "rows cols"] | None
    gates: Float[np.ndarray, " layers"] | None
    crop: UInt8[np.ndarray, "size size 3"] | None

    @property
    def answer(self) -> str:
        """The most likely class according to `head`."""
        return self.answers[self.head][0]

    @property
    def confidence(self) -> float:
        """The probability of `answer`."""
        return self.answers[self.head][1]

    @property
    def answers(self) -> dict[str, tuple[str, float]]:
        """The most likely class of each head, and its probability."""
        best = {head: int(values.argmax()) for head, values in self.probabilities.items()}
        return {
            head: (self.class_names[label], float(self.probabilities[head][label]))
            for head, label in best.items()
        }

    def top(self, count: int = 5, head: str | None = None) -> list[tuple[str, float]]:
        """Returns names and probabilities of the most likely classes; of equal ones the first.

        Args:
          count: largest number of classes.
          head: one of `probabilities`; None for the attribute `head`.

        Raises:
          ValueError: the count is negative, or there is no such head.
        """
        if operator.index(count) < 0:
            raise ValueError(f"top({count}): expected a number of classes")
        probabilities = self.probabilities.get(self.head if head is None else head)
        if probabilities is None:
            raise ValueError(f"head={head!r}: expected one of {', '.join(self.probabilities)}")
        order = np.argsort(-probabilities, kind="stable")[:count]
        return [(self.class_names[label], float(probabilities[label])) for label in order]

    def __repr__(self) -> str:
        """Shows the predicted class, those of the other heads, and the box."""
        others = [
            f"{head} {name!r} {probability:.1%}"
            for head, (name, probability) in self.answers.items()
            if head != self.head
        ]
        parts = [f"{self.answer!r} {self.confidence:.1%} by {self.head}", *others]
        if self.box is not None:
            parts.append(f"box {self.box} of {self.height} x {self.width} px")
        name = f"{self.photo!r}: " if self.photo else ""
        return f"<Prediction {name}{', '.join(parts)}>"


def box_on_photo(box: Sequence[int], sizes: Mapping[str, int], height: int, width: int) -> Box:
    """Returns the smallest box of whole pixels of a photo that contains a box of the model's image.

    The photo was resized to a square of `resize_size`; its middle square of `image_size` is the
    image.

    Args:
      box: (top, left, bottom, right), half-open, in whole pixels of the image.
      sizes: `image_size` and `resize_size` in pixels.
      height: height of the upright photo in pixels.
      width: width of the upright photo in pixels.
    """
    square = sizes["resize_size"]
    offset = (square - sizes["image_size"]) // 2
    top, left, bottom, right = (int(edge) + offset for edge in box)
    return (  # in whole numbers, so that rounding errors move no edge
        top * height // square,
        left * width // square,
        -(-bottom * height // square),
        -(-right * width // square),
    )


def heading(trained: Trained, logits: str) -> str:
    """Returns a line on which logits predict, with their accuracy where result.json has it."""
    accuracy = trained.result.get(f"{logits}_accuracy")
    number, step = (trained.result.get(name) for name in ("num_test", "step"))
    if not isinstance(accuracy, int | float):
        of = "" if step is None else f" of step {step}"
        return f"{_NAMES[logits]}: the accuracy is not known, result.json does not tell it{of}"
    return f"{_NAMES[logits]}: {accuracy:.1%} on {number} test images at step {step}"
