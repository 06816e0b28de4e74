"""Settings left open are the weights', the record's, or the official ViT-B/16's."""

import zipfile

import numpy as np
import pytest
from experiments import tiny_config, tiny_variants

from aftrans_jax.config import base_config
from aftrans_jax.experiment.auto_settings import resolve_auto, with_steps
from aftrans_jax.json_files import write_json
from aftrans_jax.key_groups import LEFT_TO_WEIGHTS
from aftrans_jax.run import launch
from aftrans_jax.run.launch import launch_training
from aftrans_jax.run.signals import StopRequest
from aftrans_jax.settings import flat
from aftrans_jax.weights.origins import Origin, as_text
from aftrans_jax.workdir.record import read_settings
from aftrans_jax.workdir.recorded_config import get_config
from aftrans_jax.workdir.setting_changes import changes

HALVES, IMAGENET = (0.5, 0.5, 0.5), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def write_npz(path, *, hidden=192, mlp=768, layers=12, heads=3, patch=16, tokens=197):
    """The arrays of a ViT's npz that tell its sizes, of zeros."""
    arrays = {
        "embedding/kernel": (patch, patch, 3, hidden),
        "Transformer/posembed_input/pos_embedding": (1, tokens, hidden),
    }
    for layer in range(layers):
        block = f"Transformer/encoderblock_{layer}"
        query = f"{block}/MultiHeadDotProductAttention_1/query/kernel"
        arrays[query] = (hidden, heads, hidden // heads)
        arrays[f"{block}/MlpBlock_3/Dense_0/kernel"] = (hidden, mlp)
    np.savez_compressed(path, **{name: np.zeros(shape, "f4") for name, shape in arrays.items()})
    return str(path)


def left(**changed):
    config = base_config()
    for name, value in changed.items():
        group, _, key = name.rpartition("__")
        (config[group] if group else config)[key] = value
    config, notes = resolve_auto(config)
    return {key: config[(parts := key.split("."))[0]][parts[1]] for key in LEFT_TO_WEIGHTS}, notes


def expected(variant, stride, gelu, image, source, local, mean=HALVES, std=HALVES):
    return dict(
        zip(LEFT_TO_WEIGHTS, (variant, stride, gelu, image, source, local, mean, std), strict=True)
    )


def test_without_weights_it_is_the_official_b16():
    found, notes = left()
    assert found == expected("b16", 16, "tanh", 224, 448, 224)
    assert notes[0].startswith("without weights: model.variant=b16, model.stride=16, ")
    assert notes[0].endswith("data.std=(0.5,0.5,0.5)")


def test_a_trunk_of_overlapping_patches_tells_its_size(tmp_path):
    """448 px in patches of 16 every 12 px are 37 x 37, as of 592 px without overlap."""
    path = write_npz(tmp_path / "trunk.npz", tokens=1 + 37**2)
    assert left(pretrained=path)[0] == expected("ti16", 16, "tanh", 224, 448, 224)
    with zipfile.ZipFile(path, "a") as file:
        file.comment = as_text(Origin("tanh", HALVES, HALVES, "exported", 448)).encode()
    assert left(pretrained=path)[0] == expected("ti16", 16, "tanh", 448, 896, 448)


def test_deit_by_its_name_and_shapes(tmp_path):
    path = write_npz(tmp_path / "deit_tiny.npz")
    found, notes = left(pretrained=path)
    assert found == expected("ti16", 16, "exact", 224, 448, 224, *IMAGENET)
    assert notes[0].startswith("deit_tiny.npz: model.variant=ti16")
    reason = "trained in PyTorch with the exact GELU and ImageNet's mean and std"
    assert notes[0].endswith(f"data.std=(0.229,0.224,0.225) (DeiT, by the file's name: {reason})")
    (line,) = left(pretrained=path, model__gelu="exact", data__mean=HALVES, data__std=HALVES)[1]
    assert line.endswith("data.local_size=224")  # nothing of the origin is used


def test_sizes_follow_what_the_file_was_trained_at(tmp_path):
    path = write_npz(tmp_path / "x.npz", tokens=1 + 12**2)
    assert left(pretrained=path)[0] == expected("ti16", 16, "tanh", 192, 384, 192)
    path = write_npz(tmp_path / "b32.npz", hidden=768, mlp=3072, heads=12, patch=32, tokens=50)
    assert left(pretrained=path)[0] == expected("b32", 32, "tanh", 224, 448, 224)
    for tokens in (0, 1):  # damaged, as is told where they are read
        path = write_npz(tmp_path / "none.npz", tokens=tokens)
        assert left(pretrained=path)[0] == expected("ti16", 16, "tanh", 224, 448, 224)


@pytest.mark.parametrize(
    ("patch", "side", "trained", "ratio"),
    [(14, 37, 518, 5.3), (16, 37, 592, 7.0), (16, 24, 384, 2.9), (32, 12, 384, 2.9)],
)
def test_files_of_large_images_read_images_of_224_px_unless_told_otherwise(
    tmp_path, patch, side, trained, ratio
):
    """DINOv2's positions are of 37 x 37 patches; twice that many px of a photo train nowhere."""
    size = {"hidden": 768, "mlp": 3072, "heads": 12, "patch": patch, "tokens": 1 + side**2}
    path = write_npz(tmp_path / "x.npz", **size)
    found, (_, note) = left(pretrained=path)
    assert found == expected(f"b{patch}", patch, "tanh", 224, 448, 224)
    assert note == (
        f"x.npz: its positions are of {trained} px, {ratio} times the patches: they are resized to "
        f"224 px; --config.data.image_size={trained} keeps them"
    )
    found, notes = left(pretrained=path, data__image_size=trained)
    assert found == expected(f"b{patch}", patch, "tanh", trained, max(trained, 448), 224)
    assert len(notes) == 1
    assert len(left(pretrained=path, data__local_size=112)[1]) == 2


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ({"data__image_size": 448}, {"data.image_size": 448}),  # no larger photo than that
        ({"data__image_size": 560}, {"data.image_size": 560, "data.source_size": 560}),
        ({"data__source_size": 300}, {"data.source_size": 300}),
        ({"model__name": "vit"}, {"data.source_size": 224}),  # nothing is cut
        ({"model__stride": 8}, {"model.stride": 8}),
        ({"model__gelu": "exact"}, {"model.gelu": "exact"}),
        ({"model__variant": "b32"}, {"model.variant": "b32", "model.stride": 32}),
    ],
)
def test_what_is_given_stays(given, changed):
    assert left(**given)[0] == left()[0] | changed


def test_a_file_of_another_variant_is_named_and_not_the_image_size_that_follows_from_it(tmp_path):
    size = {"hidden": 768, "mlp": 3072, "heads": 12, "patch": 14, "tokens": 1 + 37**2}
    path = write_npz(tmp_path / "b14.npz", **size)
    with pytest.raises(ValueError, match=r"b14\.npz'.* use --config\.model\.variant=b14; python"):
        left(pretrained=path, model__variant="b16")
    with pytest.raises(ValueError, match=r"has patches of 16 px, .* 5 layers, .*as no variant has"):
        left(pretrained=write_npz(tmp_path / "odd.npz", layers=5))


def test_what_is_absent_or_unknown_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        left(pretrained=str(tmp_path / "absent.npz"))
    with pytest.raises(ValueError, match=r"model\.variant='b17' is unknown: choose one of auto, "):
        left(model__variant="b17")


def test_the_record_goes_before_the_file_which_may_be_gone(tmp_path):
    config = base_config()
    config.pretrained = write_npz(tmp_path / "deit_tiny.npz")
    recorded = flat(resolve_auto(config)[0].to_dict())
    config.pretrained = str(tmp_path / "gone" / "deit_tiny.npz")
    resumed, notes = resolve_auto(config, recorded)
    assert flat(resumed.to_dict()) == recorded | {"pretrained": config.pretrained}
    assert notes == ()
    assert changes(recorded, flat(config.to_dict())) == {}
    assert resolve_auto(resumed) == (resumed, ())
    config.data.local_size = 112
    assert changes(recorded, flat(config.to_dict())) == {"data.local_size": (224, 112)}


@pytest.mark.parametrize(
    ("steps", "epochs", "warmup", "expected"),
    [
        (0, 20.0, -1, (432, 21)),  # of 259 photos in batches of 12
        (0, 0.5, 3, (11, 3)),
        (100, 0.0, -1, (100, 5)),
        (100, 20.0, 7, (100, 7)),  # as a record has them
    ],
)
def test_steps_are_those_of_the_epochs(steps, epochs, warmup, expected):
    config = base_config()
    config.train.steps, config.train.epochs, config.train.warmup_steps = steps, epochs, warmup
    found = with_steps(config, 259).train
    assert (found.steps, found.warmup_steps) == expected


def test_evaluations_are_an_epoch_apart():
    config = base_config()
    config.eval.every = 0
    assert with_steps(config, 259).eval.every == 22  # 259 / 12 and a rest
    assert with_steps(config, 5).eval.every == 1
    config.eval.every = 7
    assert with_steps(config, 259).eval.every == 7


def test_a_run_by_epochs_records_its_steps_and_the_same_command_goes_on(tmp_path):
    workdir = tmp_path / "run"
    model = {"model__name": "vit"}  # compiles soonest, and each number of steps is another program

    def trained(steps, epochs):
        config = tiny_config(
            train__steps=steps, train__epochs=epochs, train__warmup_steps=-1, **model
        )
        with tiny_variants(), StopRequest() as stop:
            step = launch_training(config, workdir, stop)["step"]
        record = read_settings(workdir)
        return step, record["train.steps"], record["train.epochs"]

    assert trained(0, 1.0) == (3, 3, 1.0)  # 24 birds, 8 at a time
    assert trained(0, 1.0) == (3, 3, 1.0)
    assert trained(3, 1.0) == (3, 3, 1.0)  # what the record says, as --workdir alone does
    assert trained(0, 1.5) == (5, 5, 1.5)
    assert trained(6, 0.0) == (6, 6, 0.0)
    with pytest.raises(
        ValueError,
        match=r"6 trained steps, more than train.epochs=1.0, which take 3: .*epochs=1\.0$",
    ):
        trained(0, 1.0)


@pytest.mark.parametrize("record", [{}, {"train__steps": 3, "train__epochs": 1.0}])
def test_steps_and_epochs_are_refused_but_as_recorded(record, tmp_path):
    """`train.epochs=1` with a configuration of 10,000 steps trained them all, with a note."""
    if record:
        (tmp_path / "checkpoints" / "3").mkdir(parents=True)
        write_json(tmp_path / "config.json", tiny_config(**record).to_dict())
    config = tiny_config(train__steps=5, train__epochs=1.0)
    message = (
        r"^train.steps=5 and train.epochs=1.0: expected one of them.* by epochs set "
        r"config.train.steps = 0 \(on a command line add --config.train.steps=0\), "
    )
    with pytest.raises(ValueError, match=message), StopRequest() as stop:
        launch_training(config, tmp_path, stop)


def test_a_longer_run_keeps_the_warm_up_that_it_began_with(tmp_path, monkeypatch):
    """A twentieth of its own steps would be another schedule."""
    built = []
    monkeypatch.setattr(launch, "build", lambda config, **options: built.append(config))
    monkeypatch.setattr(launch, "run", lambda *arguments: {})
    (tmp_path / "checkpoints" / "320").mkdir(parents=True)
    record = tiny_config(train__steps=320, train__warmup_steps=16)
    write_json(tmp_path / "config.json", record.to_dict())
    with StopRequest() as stop:
        launch_training(tiny_config(train__steps=640, train__warmup_steps=-1), tmp_path, stop)
    assert (built[0].train.steps, built[0].train.warmup_steps) == (640, 16)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        # Steps, warm-up and evaluations that follow from the epochs do so anew.
        ((320, 10.0, 16, 32), (0, 10.0, -1, 0)),
        ((320, 10.0, 7, 50), (0, 10.0, 7, 50)),
        ((0, 10.0, 0, 50), (0, 10.0, 0, 50)),  # as a study writes it
        ((320, 0.0, 16, 32), (320, 0.0, 16, 32)),
    ],
)
def test_the_record_of_a_run_that_trained_nothing_yet_leaves_to_the_epochs_what_is_theirs(
    written, expected, tmp_path
):
    keys = ("train__steps", "train__epochs", "train__warmup_steps", "eval__every")
    record = tiny_config(**dict(zip(keys, written, strict=True)))
    write_json(tmp_path / "config.json", record.to_dict())
    found = get_config(str(tmp_path))
    train = found.train
    assert (train.steps, train.epochs, train.warmup_steps, found.eval.every) == expected
    (tmp_path / "checkpoints" / "320").mkdir(parents=True)
    assert get_config(str(tmp_path)).to_dict() == record.to_dict()


def test_a_run_of_epochs_that_was_killed_before_its_first_checkpoint_trains_them_all(tmp_path):
    config = tiny_config(
        train__steps=3, train__epochs=1.0, train__warmup_steps=0, model__name="vit"
    )
    write_json(tmp_path / "config.json", config.to_dict())
    config = get_config(str(tmp_path))
    config.train.batch_size = 4
    with tiny_variants(), StopRequest() as stop:
        assert launch_training(config, tmp_path, stop)["step"] == 6  # 24 birds, 4 at a time
    assert read_settings(tmp_path)["train.epochs"] == 1
