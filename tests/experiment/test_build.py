"""What `build` makes of a configuration beside the model: speed, bounds, seeds, notes, checks."""

import math

import numpy as np
import optax
import pytest
from experiments import _VARIANTS, tiny_config, tiny_experiment, tiny_variants
from PIL import Image

from aftrans_jax.data.loading.cache import ResizedCache
from aftrans_jax.experiment import build as building
from aftrans_jax.experiment import data, optimization
from aftrans_jax.experiment.build import build
from aftrans_jax.experiment.classes import Evaluated
from aftrans_jax.experiment.data import READERS, load_dataset, with_validation
from aftrans_jax.experiment.model import build_model, loss_weights
from aftrans_jax.model.geometry import Geometry
from benchmarks.models.cases import flops

PLAIN = {"model__name": "vit"}


def model(**changes):
    with tiny_variants():
        return build_model(tiny_config(**changes), 12, np.dtype("float32"))


@pytest.mark.parametrize(
    ("changes", "branches"),
    [
        ({"model__name": "vit", "loss__alpha": 2.0, "loss__beta": 5.0}, 2),  # has no crop
        ({"loss__alpha": 2.0, "loss__beta": 5.0}, 2 + 5),
        ({**PLAIN, "loss__contrastive": 0.5}, 1 + 0.5),
        # 30 drawn images of 12 classes: the rarest have 2, and count 30 / 12 / 2 times.
        ({**PLAIN, "loss__class_weights": "inverse", "data__num_train": 30}, 1.25),
    ],
)
def test_a_loss_above_three_times_that_of_guessing_has_diverged(changes, branches):
    expected = 3 * branches * math.log(12)
    assert tiny_experiment(**changes).largest_loss == pytest.approx(expected, rel=1e-6)


def test_the_peak_speed_is_that_of_all_devices_and_three_passes(monkeypatch):
    monkeypatch.setattr(building, "peak_flops", {"float32": 1e12}.get)
    forward = flops(_VARIANTS["mini8"], 32, 8, every_token=False) + 2 * 12 * 12  # and the head
    for num_devices in (1, 4):
        found = tiny_experiment(num_devices, **PLAIN).peak_speed
        assert found == pytest.approx(1e12 * num_devices / (3 * forward))
    assert math.isnan(tiny_experiment(**PLAIN, train__trainable="head").peak_speed)


def test_what_training_draws_is_by_the_seed(monkeypatch):
    seeds = []
    monkeypatch.setattr(building, "compiled_step", lambda *_, seed, **__: seeds.append(seed))
    tiny_experiment(**PLAIN, seed=7)
    assert seeds == [7]


def test_a_rate_of_sgd_and_held_out_images_that_are_missing_are_told():
    notes = tiny_experiment(**PLAIN, train__optimizer="adamw").notes
    assert any("train.learning_rate=0.1 is a rate of SGD" in note for note in notes)
    with pytest.raises(ValueError, match=r"train\.patience=3 stops by the accuracy on held-out"):
        tiny_experiment(**PLAIN, train__patience=3)


def test_an_evaluation_takes_a_batch_that_the_devices_do_not_divide():
    config = tiny_config(**PLAIN, train__batch_size=6)
    with tiny_variants():
        names = build(tiny_config(**PLAIN)).dataset.class_names
        assert build(config, restores=True, evaluated=Evaluated(names)).mesh.size == 4
        with pytest.raises(ValueError, match=r"train\.batch_size=6 cannot be split over 4"):
            build(config)


def test_a_cache_counts_all_splits_and_the_processes_of_the_host(monkeypatch):
    asked = []
    monkeypatch.setattr(data, "check_memory", lambda *given: asked.append(given) or "fits")
    config = tiny_config(data__cache="ram", data__validation_fraction=0.25)
    _, notes = load_dataset(config, None, 3)
    assert asked == [([(12, 32), (12, 32), (20, 32)], 3)]
    assert notes[-1] == "fits"
    monkeypatch.setattr(building, "processes_here", lambda: 5)
    tiny_experiment(**PLAIN, data__cache="ram")
    assert asked[1][1] == 5


def test_an_evaluation_reads_no_weights_and_keeps_no_image():
    config = tiny_config(**PLAIN, pretrained="gone.npz", data__cache="ram")
    with tiny_variants():
        names = build(tiny_config(**PLAIN)).dataset.class_names
        built = build(config, restores=True, evaluated=Evaluated(names))
    assert not isinstance(built.dataset.test, ResizedCache)
    assert not np.any(built.state.params["vit"]["embedding"]["kernel"])  # to be replaced


def test_a_split_of_its_own_goes_before_a_share_which_is_said(tmp_path):
    for name in ("train/a/1.png", "train/b/2.png", "val/a/3.png", "test/a/4.png", "test/b/5.png"):
        (path := tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9)).save(path)
    changes = {"data__name": "folder", "data__dir": str(tmp_path)}
    dataset, notes = load_dataset(tiny_config(**changes, data__validation_fraction=0.5))
    assert list(dataset.validation.names) == ["val/a/3.png"]
    assert len(dataset.train) == 2
    assert any("validation_fraction=0.5 is not used: the set has" in note for note in notes)


def test_records_are_read_up_to_the_pixels_that_are_set(monkeypatch):
    asked = []
    monkeypatch.setattr(data, "read_tfds", lambda *given, **more: asked.append((given, more)))
    config = tiny_config(data__name="tfds:birds", data__dir="d", data__max_pixels=123)
    READERS["tfds:NAME"](config.data, None)
    assert asked == [(("birds", "d"), {"max_pixels": 123})]


def test_held_out_images_are_drawn_by_the_seed_of_splits():
    listed = load_dataset(tiny_config(data__num_train=120))[0]

    def held_out(seed):
        settings = tiny_config(data__validation_fraction=0.3, data__split_seed=seed).data
        return set(with_validation(listed, settings)[0].validation.names)

    assert held_out(1) == held_out(1) != held_out(2)


def test_each_setting_of_the_model_reaches_its_place():
    vit = model(model__dropout=0.1, model__stochastic_depth=0.2).vit
    assert (vit.dropout, vit.stochastic_depth) == (0.1, 0.2)
    colours = {"data__mean": (0.1, 0.2, 0.3), "data__std": (0.4, 0.5, 0.6)}
    assert (vit := model(**colours).vit).mean == (0.1, 0.2, 0.3)
    assert vit.std == (0.4, 0.5, 0.6)
    assert model(model__stride=4).vit.geometry == Geometry(image_size=32, patch_size=8, stride=4)
    for name in ("aftrans", "rams"):
        placed = model(model__name=name, region__method="centred", region__min_box=9)
        assert (placed.region_method, placed.min_box) == ("centred", 9)
    assert model(region__method="annotated").region_method == "largest_component"
    weights = {
        "loss__alpha": 2.0,
        "loss__beta": 3.0,
        "loss__distill": 4.0,
        "loss__contrastive": 5.0,
    }
    assert loss_weights(tiny_config(**weights)) == {
        **{"global": 2, "local": 3},
        **{"distill": 4, "contrastive": 5},
    }


def test_each_setting_of_the_optimizer_reaches_its_place(monkeypatch):
    taken = []

    def optimizer(name, schedule, **given):
        taken.append((name, given))
        return optax.sgd(schedule)

    monkeypatch.setattr(optimization, "optimizer", optimizer)
    numbers = {"momentum": 0.1, "clip_norm": 0.2, "weight_decay": 0.3, "layer_decay": 0.4}
    changes = {f"train__{name}": number for name, number in numbers.items()}
    with tiny_variants():
        optimization.build_optimizer(tiny_config(train__optimizer="adamw", **changes))
    assert taken == [("adamw", numbers | {"num_layers": 2})]
