"""A whole trained model as weights: its trunk, local tokens and SACM are taken, its sizes too."""

import json
import sys

import numpy as np
import pytest
from experiments import tiny_config, tiny_experiment, tiny_variants
from flax.traverse_util import flatten_dict, unflatten_dict

from aftrans_jax import convert
from aftrans_jax.config import base_config
from aftrans_jax.experiment.auto_settings import resolve_auto
from aftrans_jax.experiment.model import blank_params, build_model, initial_params
from aftrans_jax.inference.single_file import save
from aftrans_jax.settings import flat
from aftrans_jax.weights.fitting import fit_beside
from aftrans_jax.weights.reading import open_weights

NAMES = ("tern", "gull", "skua")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TOLD = "taken from a whole model: trunk, local tokens, SACM"


def write(path, *, model="aftrans", names=NAMES, **changes):
    """The file of a model whose parameters are all random, and they by name."""
    config = tiny_config(model__name=model, **changes)
    rng = np.random.default_rng(1)
    with tiny_variants():
        blank = blank_params(config, build_model(config, len(names), np.dtype("float32")))
    arrays = {
        name: rng.normal(size=x.shape).astype(np.float32)
        for name, x in flatten_dict(blank, sep="/").items()
    }
    params = unflatten_dict(arrays, sep="/")
    save(path, params, flat(config.to_dict()), names, {})
    return arrays


@pytest.fixture
def path(tmp_path):
    return tmp_path / "birds.npz"


def start(path, num_classes=3, **changes):
    """Initial parameters by name, and the notes."""
    config = tiny_config(pretrained=str(path), **changes)
    with tiny_variants():
        model = build_model(config, num_classes, np.dtype("float32"))
        params, notes = initial_params(config, model)
    return flatten_dict(params, sep="/"), notes


def test_all_is_taken_but_the_head(path):
    saved = write(path)
    found, notes = start(path, num_classes=8)
    assert found.keys() == saved.keys()
    assert not found.pop("vit/head/kernel").any()
    assert not found.pop("vit/head/bias").any()
    for name, array in found.items():
        np.testing.assert_array_equal(array, saved[name], err_msg=name)
    assert notes == (TOLD, "new head for 8 classes (the file has one for 3)")


def test_the_head_of_the_same_classes_may_be_kept_and_crops_be_of_another_size(path):
    saved = write(path)
    found, notes = start(path, pretrained_head="keep", data__local_size=16)
    positions = found.pop("local/pos_embedding")
    for name, array in found.items():
        np.testing.assert_array_equal(array, saved[name], err_msg=name)
    # Of 3 x 3 patches with their corners aligned, 2 x 2 are the corners.
    expected = saved["local/pos_embedding"][:, [0, 1, 3, 7, 9]]
    np.testing.assert_allclose(positions, expected, atol=1e-6)
    assert notes[0] == TOLD
    assert "positions of the local tokens resized from (1, 10, 12) to (1, 5, 12)" in notes
    assert "data.local_size is 16: the file was trained at 24 px" in notes[-1]


def test_a_head_of_other_classes_is_not_kept(path):
    write(path)
    config = tiny_config(pretrained=str(path), pretrained_head="keep")
    with tiny_variants():
        model = build_model(config, 3, np.dtype("float32"))
        initial_params(config, model, NAMES)
        with pytest.raises(
            ValueError, match=r"birds\.npz': .*head is for 'gull' where .* has 'skua': "
        ):
            initial_params(config, model, ("tern", "skua", "gull"))
        with pytest.raises(ValueError, match="has 4 classes, the file's head is one for 3"):
            initial_params(config, build_model(config, 4, np.dtype("float32")), "abcd")
        config.pretrained_head = "new"
        initial_params(config, model, "abc")


def test_the_names_of_the_data_reach_the_check(tmp_path):
    names = tiny_experiment().dataset.class_names
    write(tmp_path / "birds.npz", names=names[::-1])
    kept = {"pretrained": str(tmp_path / "birds.npz"), "pretrained_head": "keep"}
    with pytest.raises(ValueError, match=f"is for {names[-1]!r} where the data has {names[0]!r}: "):
        tiny_experiment(**kept)


def test_local_tokens_that_the_file_lacks_are_the_trunks(path):
    saved = write(path, model="vit")
    found, notes = start(path, data__local_size=32)
    for name, source in (
        ("cls", "cls"),
        ("pos_embedding", "Transformer/posembed_input/pos_embedding"),
    ):
        np.testing.assert_array_equal(found[f"local/{name}"], saved[f"vit/{source}"], err_msg=name)
    assert notes[:3] == (
        "taken from a whole model: trunk",
        "not taken: local tokens (the file has none)",
        "not taken: SACM (the file has none)",
    )


def test_what_does_not_fit_is_left_and_named():
    kernel, cls = (np.ones(shape, np.float32) for shape in ((12, 3), (1, 1, 8)))
    file = {"local/cls": cls, "sacm/Dense_0/kernel": kernel}
    taken, notes = fit_beside(file, {"vit": {}, "local": {"cls": cls}}, {"sacm": "it differs"})
    assert taken.keys() == {"local/cls"}
    assert notes == (
        "taken from a whole model: trunk, local tokens",
        "not taken: SACM (this model has none)",
    )
    other = {"local": {"cls": cls}, "sacm": {"Dense_0": {"kernel": np.ones((12, 6))}}}
    taken, notes = fit_beside(file, other, {})
    assert taken.keys() == {"local/cls"}
    assert notes[1] == (
        "not taken: SACM (of another shape: sacm/Dense_0/kernel (12, 3) instead of (12, 6))"
    )


@pytest.mark.parametrize(
    ("trained", "now", "told"),
    [
        ({"descriptor": "full_map"}, {}, "descriptor=full_map"),
        ({"head_fusion": "product"}, {"layers": (1, 2)}, "head_fusion=product"),
        ({"layers": (2,)}, {"layers": (1,)}, "layers=(2,)"),
        ({"layers": ()}, {"layers": (1,)}, "layers=()"),
        ({"keep_ratio": 0.3, "layers": (1, 2)}, {"selection": "votes"}, ""),  # 2 are all layers
    ],
)
def test_a_sacm_that_learned_on_other_rows_is_left(path, trained, now, told):
    saved = write(path, **{f"sacm__{key}": value for key, value in trained.items()})
    found, notes = start(path, **{f"sacm__{key}": value for key, value in now.items()})
    same = all(np.array_equal(found[name], saved[name]) for name in saved if name[:4] == "sacm")
    assert same == (not told)
    line = f"not taken: SACM (it was trained with sacm.{told})"
    assert notes[:-1] == ((TOLD.removesuffix(", SACM"), line) if told else (TOLD,))


def test_settings_that_are_left_open_are_the_files(path):
    sizes = {"data__image_size": 40, "data__source_size": 96, "model__stride": 4}
    pixels = {"data__mean": IMAGENET[0], "data__std": IMAGENET[1], "model__gelu": "exact"}
    write(path, **sizes, **pixels)
    config = base_config()
    config.pretrained = str(path)
    with tiny_variants():
        found, notes = resolve_auto(config)
    data, model = found.data, found.model
    assert (model.variant, model.stride, model.gelu) == ("mini8", 4, "exact")
    assert (data.image_size, data.source_size, data.local_size) == (40, 96, 24)
    assert (tuple(data.mean), tuple(data.std)) == IMAGENET
    assert notes[0].endswith("(a trained aftrans of 3 classes, by its settings)")
    config.data.image_size = 104
    with tiny_variants():
        assert resolve_auto(config)[0].data.source_size == 104


def test_crops_of_a_file_without_a_local_branch_are_as_large_as_its_images(path):
    write(path, model="vit")  # its record has data.local_size=24 and data.source_size=32
    with open_weights(str(path)) as weights:
        assert (weights.whole.local_size, weights.whole.source_size) == (32, 64)


def test_positions_of_no_token_are_named(path):
    write(path)
    with np.load(path) as file:
        arrays = dict(file)
    for name in ("local/pos_embedding", "vit/Transformer/posembed_input/pos_embedding"):
        damaged = path.with_name("damaged.npz")
        np.savez(damaged, **{**arrays, name: arrays[name][:, :0]})
        with pytest.raises(ValueError, match=r"damaged\.npz': position embedding of 0 tokens"):
            start(damaged)


def test_its_trunk_can_be_converted(path, tmp_path, monkeypatch, capsys):
    saved, out = write(path), tmp_path / "trunk.npz"
    monkeypatch.setattr(sys, "argv", ["convert", str(path), f"--out={out}"])
    convert.main()
    assert "only the trunk of the whole model is written" in capsys.readouterr().err
    trunk = {name.removeprefix("vit/"): x for name, x in saved.items() if name[:4] == "vit/"}
    with np.load(out) as found:
        assert set(found.files) == trunk.keys()
        for name, array in trunk.items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": None}, "aftrans.json is damaged .settings is None.: write the file again"),
        ({"settings": {"model.gelu": "tanh"}}, "cannot be used: write the file again by python"),
        ({"model.stride": -8}, r"has sizes \[-8, 32, 24, 32\]: write the file again by python -m"),
        ({"model.gelu": "odd"}, "cannot be used: write the file again by python -m"),
    ],
)
def test_a_damaged_record_is_named(path, change, message):
    write(path)
    with np.load(path) as file:
        arrays = dict(file)
    record = json.loads(arrays["aftrans.json"].tobytes())
    record = (
        record | change
        if "settings" in change
        else {**record, "settings": record["settings"] | change}
    )
    arrays["aftrans.json"] = np.frombuffer(json.dumps(record).encode(), np.uint8)
    np.savez(path, **arrays)
    expected = rf"^pretrained='.*birds\.npz': .*{message}"
    with pytest.raises(ValueError, match=expected), open_weights(str(path)):
        pass
