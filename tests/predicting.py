"""The command `predict`, which traces and compiles a model once for many calls in a test module."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments import tiny_variants

import aftrans_jax.library  # noqa: F401, whose type hints name the Classifier that is replaced
from aftrans_jax import predict
from aftrans_jax.config import Config
from aftrans_jax.experiment import model as experiment_model
from aftrans_jax.experiment.model import Model
from aftrans_jax.inference import classifier, trained_model
from aftrans_jax.inference.classifier import Classifier
from aftrans_jax.inference.trained_model import Trained, load_trained

_compiled: dict[tuple[bytes, ...], Classifier] = {}
_blank: dict[tuple[str, int], dict[str, Any]] = {}


def _compile_once(monkeypatch) -> None:
    """Lets `predict` use the same compiled model for every copy of a run, with all its outputs.

    A model of global logits alone is compiled apart. Batches are of 16 photos, whatever is given.
    """
    folders: list[Path] = []

    def load(workdir: Path, *, precision: str) -> Trained:
        folders.append(workdir)
        return load_trained(workdir, precision=precision)

    def compiled(model: Trained, *, head, batch_size, wanted) -> Classifier:
        assert batch_size >= 1
        records = [(folders[-1] / name).read_bytes() for name in ("config.json", "classes.json")]
        everything = {} if wanted or (head or model.head) != "global" else {"wanted": ()}
        precision = model.model.vit.dtype.name.encode()
        key = (*records, precision, bytes([not everything]))
        if key not in _compiled:
            _compiled[key] = Classifier(model, head=head, **everything)
        found = object.__new__(Classifier)  # a copy would compile anew
        found.__dict__.update(_compiled[key].__dict__)
        found.head = head or model.head
        whole, kept = found._outputs, {"probabilities", *wanted}
        found._outputs = lambda *given: {x: y for x, y in whole(*given).items() if x in kept}
        return found

    def blank_params(config: Config, model: Model) -> dict[str, Any]:
        key = (config.to_json(), model.vit.num_classes)
        if key not in _blank:
            _blank[key] = experiment_model.blank_params(config, model)
        return _blank[key]

    monkeypatch.setattr(trained_model, "load_trained", load)
    monkeypatch.setattr(trained_model, "blank_params", blank_params)
    monkeypatch.setattr(classifier, "Classifier", compiled)


def predicting(workdir: Path, monkeypatch, capsys) -> Callable[..., tuple[list[str], list[str]]]:
    """Returns a function that runs the command: the lines on standard output and error.

    It fails unless the command ends with `code`, a status or the text of an error.
    """
    _compile_once(monkeypatch)
    capsys.readouterr()  # of what was trained before

    def run(*arguments, code: int | str = 0, where: Path = workdir) -> tuple[list[str], list[str]]:
        monkeypatch.setattr(sys, "argv", ["predict", f"--workdir={where}", *map(str, arguments)])
        status, text = 0, ""
        with tiny_variants():
            try:
                predict.main()
            except SystemExit as error:
                status, text = ended(error)
        assert code in (status, text)
        printed = capsys.readouterr()
        return printed.out.splitlines(), [*printed.err.splitlines(), *text.splitlines()]

    return run


def ended(error: SystemExit) -> tuple[int, str]:
    """The status, and what Python writes to standard error: a text as the code means status 1."""
    return (1, error.code) if isinstance(error.code, str) else (error.code, "")
