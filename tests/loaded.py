"""Trained models that `predict` compiles once for many calls of it in a test module."""

import copy
from pathlib import Path

from aftrans_jax.experiment import classifier, trained
from aftrans_jax.experiment.classifier import BATCH_SIZE, Classifier
from aftrans_jax.experiment.trained import Trained, load_trained

_compiled: dict[tuple[bytes, ...], Classifier] = {}


def once(monkeypatch) -> None:
    """Lets `predict` take the same compiled model for every copy of a run, with all it can say.

    A model of global logits alone is compiled apart. Batches are of 16 photos.
    """
    folders: list[Path] = []

    def load(workdir: Path) -> Trained:
        folders.append(workdir)
        return load_trained(workdir)

    def compiled(model: Trained, *, head, batch_size, whole, crops) -> Classifier:
        assert 1 <= batch_size <= BATCH_SIZE
        records = [(folders[-1] / name).read_bytes() for name in ("config.json", "classes.json")]
        whole = whole or (head or model.predict_from) != "global"
        key = (*records, bytes([whole]))
        if key not in _compiled:
            _compiled[key] = Classifier(model, head=head, whole=whole, crops=True)
        found = copy.copy(_compiled[key])
        found.head = head or model.predict_from
        return found

    monkeypatch.setattr(trained, "load_trained", load)
    monkeypatch.setattr(classifier, "Classifier", compiled)
