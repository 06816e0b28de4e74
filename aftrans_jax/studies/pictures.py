"""Test images on which a setting and the base disagree, with what each says of them."""

from collections.abc import Mapping, Sequence

import numpy as np

from aftrans_jax.data.examples import Dataset
from aftrans_jax.data.loading.transforms import test_transform
from aftrans_jax.experiment.classes import Evaluated
from aftrans_jax.experiment.data import image_sizes, load_dataset
from aftrans_jax.experiment.workdir import configured, read_classes
from aftrans_jax.report.comparison import Disagreement, Group
from aftrans_jax.report.pictures import plain_panel
from aftrans_jax.studies.tables import Figures
from aftrans_jax.studies.trials import Line, Trial

NUM_SHOWN = 4  # images of each line and direction


def disagreements(table: Sequence[Figures], base: Line | None) -> tuple[list[Group], str]:
    """Returns for each line the images that it has right and the base wrong, and the reverse.

    Those come first on which most seeds agree, then in the order of the split.

    Args:
      table: figures of lines.
      base: what they are compared with.

    Returns:
      The groups, and why there are none, where there are none.
    """
    pairs = [(row.line, row.pairing) for row in table if row.pairing is not None]
    if base is None or not pairs:
        return [], "There is nothing to compare yet."
    try:
        dataset, sizes = _dataset(base.trials[0])
    except (OSError, ValueError) as error:  # such as photos that lie elsewhere now
        return [], f"The images cannot be read: {error}"
    groups = []
    for line, pairing in pairs:
        gain = pairing.ours.mean(axis=0) - pairing.base.mean(axis=0)
        for sign, right, wrong in ((1, line, base), (-1, base, line)):
            chosen = [i for i in np.argsort(-sign * gain, kind="stable") if sign * gain[i] > 0]
            title = f"{right.name} right, {wrong.name} wrong ({len(chosen)} of {len(gain)})"
            names = [pairing.names[int(i)] for i in chosen[:NUM_SHOWN]]
            try:
                cards = [_card(name, dataset, sizes, (line, base)) for name in names]
            except (OSError, ValueError) as error:
                return [], f"The images cannot be read: {error}"
            if cards:
                groups.append(Group(title, cards))
    return groups, "They agree on every image."


def _dataset(trial: Trial) -> tuple[Dataset, Mapping[str, int]]:
    config = configured(trial.settings)
    config.data.cache = "none"
    config.data.validation_fraction = 0.0  # the test split does not depend on it
    return load_dataset(config, Evaluated(read_classes(trial.workdir)))[0], image_sizes(config)


def _card(
    name: str, dataset: Dataset, sizes: Mapping[str, int], lines: Sequence[Line]
) -> Disagreement:
    image = test_transform(dataset.test[list(dataset.test.names).index(name)], **sizes).image
    said, true = [], ""
    for line in lines:
        answers: dict[str, int] = {}
        for trial in line.trials:
            place = trial.predictions.names.index(name)
            true = trial.predictions.true[place]
            answer = trial.predictions.predicted[line.head][place]
            answers[answer] = answers.get(answer, 0) + 1
        many = len(line.trials) > 1
        listed = [f"{answer} ({n}x)" if many else answer for answer, n in answers.items()]
        said.append((line.name, ", ".join(listed)))
    return Disagreement(name, plain_panel(image), [("true", true), *said])
