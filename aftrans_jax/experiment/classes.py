"""A labelled set seen by a model that was trained on other lists: classes are matched by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from aftrans_jax.data.examples import Dataset, Example, Source
from aftrans_jax.data.loading.names import composed


@dataclass(frozen=True)
class Relabelled:
    """A source whose labels are translated; `new_labels[label]` is the new one."""

    source: Source
    new_labels: tuple[int, ...]

    @property
    def names(self) -> Sequence[str]:
        return self.source.names

    @cached_property
    def labels(self) -> tuple[int, ...]:
        return tuple(self.new_labels[label] for label in self.source.labels)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        example = self.source[index]
        return example._replace(label=self.new_labels[example.label])


def match_classes(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """Returns the set with the labels of a trained model; it may lack some of its classes.

    Args:
      dataset: with labels and names of classes of its own.
      classes: names of the model's classes, in the order of its head.

    Raises:
      ValueError: the set has a class that the model does not know.
    """
    if tuple(classes) == dataset.class_names:
        return dataset
    number = {composed(name): label for label, name in enumerate(classes)}
    unknown = [name for name in dataset.class_names if composed(name) not in number]
    if unknown:
        raise ValueError(
            f"{len(unknown)} of the {len(dataset.class_names)} classes of {dataset.name} were not "
            f"trained, such as {', '.join(map(repr, unknown[:3]))}: expected names among "
            f"{', '.join(map(repr, list(classes)[:3]))} ... (classes.json). Rename them, or leave "
            "them out"
        )
    new = tuple(number[composed(name)] for name in dataset.class_names)
    splits = {name: Relabelled(source, new) for name, source in dataset.splits().items()}
    return dataset._replace(class_names=tuple(classes), **splits)
