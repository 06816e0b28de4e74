"""Trained models that `predict` loads and compiles once for many calls of it in a test module."""

import functools
from pathlib import Path

from aftrans_jax import predict
from aftrans_jax.experiment.classifier import Classifier
from aftrans_jax.experiment.trained import Trained, load_trained


@functools.cache
def _load(workdir: Path) -> Trained:
    return load_trained(workdir)


@functools.cache
def _classifier(identity: int, head: str | None, whole: bool, crops: bool) -> Classifier:
    trained = next(x for x in _kept if id(x) == identity)
    return Classifier(trained, head=head, whole=whole, crops=crops)


_kept: list[Trained] = []


def once(monkeypatch) -> None:
    """Lets `predict` take the same compiled model in every call; its batches are of 16 photos."""

    def classifier(trained, *, head, batch_size, whole, crops):
        assert 1 <= batch_size <= predict.BATCH_SIZE
        _kept.append(trained)
        return _classifier(id(trained), head, whole, crops)

    monkeypatch.setattr(predict, "load_trained", _load)
    monkeypatch.setattr(predict, "Classifier", classifier)
