"""`import aftrans_jax as aft`: load, create, train, and what a trained model says of photos."""

import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import jax
import numpy as np
import oracles
import pytest
from experiments import tiny_config, tiny_variants
from npz_file import read_npz
from PIL import Image
from places import ROOT
from tiny import apply, flat, random_params, tiny_vit

import aftrans_jax as aft
from aftrans_jax import library
from aftrans_jax.data.sets.synthetic import synthetic_dataset
from aftrans_jax.inference.trained_model import Trained
from aftrans_jax.json_files import write_json
from aftrans_jax.model.attention import KERNELS
from aftrans_jax.model.plain_vit import PlainViT
from aftrans_jax.settings import configured
from aftrans_jax.weights.fitting import resize_positions
from aftrans_jax.workdir.record import read_result, read_settings

MINI8 = ROOT / "aftrans_jax" / "assets" / "mini8.npz"


def in_new_process(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_costs_nothing_and_reads_no_flags():
    said = in_new_process(
        "import sys, aftrans_jax as aft; dir(aft); print('jax' in sys.modules)\n"
        "aft.load; print(*({'tensorflow', 'tensorboard'} & {*sys.modules}))\n"
        "from absl import flags; print('config' in flags.FLAGS)\n"
        "from aftrans_jax.model import AFTrans, SACM, ViT; assert aft.model.AFTrans is AFTrans"
    )
    assert said.split("\n")[:3] == ["False", "", "False"]


def test_every_name_is_there_and_no_other():
    for module in (aft, aft.model):
        assert all(getattr(module, name) is not None for name in module.__all__)
        assert {*module.__all__} <= {*dir(module)}
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            module.nothing  # noqa: B018


# ---------------------------------------------------------------------------------- trained models


@pytest.fixture(scope="module")
def model(trained_run):
    with tiny_variants():
        return aft.load(trained_run, batch_size=4)


@pytest.fixture(scope="module")
def images():
    dataset = synthetic_dataset(num_train=48, num_test=60, image_size=32)
    return np.stack([dataset.test[index].image for index in range(60)])


def test_a_full_device_is_told_by_what_needs_less(trained_run, model, images, monkeypatch):
    def full(params, batch):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(model, "_outputs", full)
    monkeypatch.setattr(model, "batch_size", 7)  # which four devices round up to 8
    lower = "lower batch_size=8, such as by --batch_size=4, or "
    smaller = "take precision=bfloat16 or a smaller model"
    for photos, remedy in ((images[:2], lower + smaller), (images[0], smaller)):
        with pytest.raises(RuntimeError, match=f"^the device's memory is full: {remedy} \\(Out of"):
            model(photos)
    with tiny_variants():
        halves = aft.load(trained_run, precision="bfloat16")
    monkeypatch.setattr(halves, "_outputs", full)
    with pytest.raises(RuntimeError, match="is full: take a smaller model "):
        halves(images[0])


def test_a_run_is_read_where_arrays_have_64_bits(trained_run, model, images):
    """Programs that use the library may have set this."""
    wanted = [found.answer for found in model(images)]
    jax.config.update("jax_enable_x64", True)
    try:
        with tiny_variants():
            loaded = aft.load(trained_run)
        assert {x.dtype for x in jax.tree.leaves(loaded.params)} == {np.dtype(np.float32)}
        assert [found.answer for found in loaded(images)] == wanted
    finally:
        jax.config.update("jax_enable_x64", False)


def test_bfloat16_answers_as_float32_does_but_for_its_rounding(trained_run, model, images):
    with tiny_variants():
        halves = aft.load(trained_run, batch_size=4, precision="bfloat16")
    assert halves.module.vit.dtype.name == "bfloat16"
    assert halves.module.vit.attention is KERNELS["auto"]
    assert {x.dtype for x in jax.tree.leaves(halves.params)} == {np.dtype(np.float32)}
    largest, other_boxes = 0.0, 0
    for found, expected in zip(halves(images), model(images), strict=True):
        # A rounding may exchange two patches that are nearly as relevant, and so move the box.
        heads = expected.probabilities if found.box == expected.box else ["global"]
        other_boxes += found.box != expected.box
        for head in heads:
            error = np.abs(found.probabilities[head] - expected.probabilities[head]).max()
            assert error <= 2**-6  # some eight roundings, each of 2**-9 of what is rounded
            largest = max(largest, error)
    assert largest > 1e-4  # float32's would be 1e-6
    assert other_boxes <= len(images) // 10


def test_float32_is_what_nothing_given_means(trained_run, model, images):
    with tiny_variants():
        given = aft.load(trained_run, batch_size=4, precision="float32")
    assert given.module.vit == model.module.vit
    assert model.module.vit.dtype == np.float32
    for found, expected in zip(given(images[:8]), model(images[:8]), strict=True):
        for head, probabilities in expected.probabilities.items():
            np.testing.assert_array_equal(found.probabilities[head], probabilities)


def test_another_precision_is_refused(trained_run):
    with pytest.raises(ValueError, match=r"^precision='float16': choose one of float32, bfloat16$"):
        aft.load(trained_run, precision="float16")


def test_scores_of_another_step_are_not_told_of_the_model(trained_run, tmp_path):
    """This happens when a finished run was made longer and killed."""
    workdir = shutil.copytree(trained_run, tmp_path / "run")
    write_json(workdir / "result.json", {**read_result(workdir), "step": 30})
    with tiny_variants():
        model = aft.load(workdir)
    assert model.result == {"step": 60}
    assert "accuracy is not known, result.json does not tell it of step 60" in repr(model)


def test_its_answers_are_as_right_as_result_json_says(model, images):
    labels = synthetic_dataset(num_train=48, num_test=60, image_size=32).test.labels
    found = model(images)
    for head in ("global", "local", "sum"):
        right = [
            name.top(1, head)[0][0] == model.class_names[label]
            for name, label in zip(found, labels, strict=True)
        ]
        assert np.mean(right) == pytest.approx(model.result[f"{head}_accuracy"], abs=1e-7)
        near = [
            model.class_names[label] in [said for said, _ in name.top(5, head)]
            for name, label in zip(found, labels, strict=True)
        ]
        assert np.mean(near) == pytest.approx(model.result[f"{head}_top5_accuracy"], abs=1e-7)


def test_what_it_says_is_what_the_module_computes(model, images):
    output = apply(model.module, model.params, images[:4], train=False)
    logits = {**output.logits, "sum": output.logits["global"] + output.logits["local"]}
    for row, found in enumerate(model(images[:4])):
        for head, values in logits.items():
            expected = np.exp(values[row] - np.max(values[row]))
            np.testing.assert_allclose(
                found.probabilities[head], expected / expected.sum(), atol=2e-6
            )
        assert found.box == tuple(np.asarray(output.region.box[row]).tolist())
        np.testing.assert_allclose(found.relevance, output.region.relevance[row], atol=1e-6)
        np.testing.assert_allclose(found.gates, output.region.gate[row], atol=1e-6)
        # PIL's antialiased crop in float32, computed apart, to the nearest grey level.
        crop = oracles.crop(images[row], found.box, 24)
        assert found.crop.dtype == np.uint8
        assert np.abs(found.crop - crop).max() < 0.501


def test_one_photo_is_one_prediction_and_several_a_list(model, photos):
    path = sorted(photos.rglob("*.png"))[0]
    with Image.open(path) as image:
        array = np.asarray(image)
        singles = [model(given) for given in (path, str(path), image, array)]
        several = model([path, image, array]) + model(np.stack([array] * 2))
        several += model(iter([path])) + model(jax.numpy.stack([array] * 3))
    assert len(several) == 9
    assert {single.photo for single in singles} == {str(path), ""}
    for found in (*singles, *several):
        assert isinstance(found, aft.Prediction)
        assert found.box == singles[0].box
        np.testing.assert_allclose(
            found.probabilities["sum"], singles[0].probabilities["sum"], atol=1e-6
        )
    assert model([]) == []
    assert model(array[None][:0]) == []


def test_fewer_than_a_batch_and_more_are_the_same(model, images):
    everything = model(images[:11])
    for count in (2, 4, 5):
        for one, other in zip(everything, model(images[:count]), strict=False):
            np.testing.assert_array_equal(one.probabilities["sum"], other.probabilities["sum"])
    assert model._outputs._cache_size() <= 2  # for one photo, and for batches


def test_another_process_gives_the_same_answers(trained_run, images):
    with tiny_variants():
        model = aft.load(trained_run, head="local", batch_size=2)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        (there,) = pool.map(model, [images[:3]])
    for found, expected in zip(there, model(images[:3]), strict=True):
        assert (found.head, found.box) == ("local", expected.box)
        np.testing.assert_array_equal(found.probabilities["local"], expected.probabilities["local"])


def test_a_forked_process_says_why_it_cannot_answer(trained_run):
    """In a process of its own: a fork of this one would have pytest's threads."""
    done = in_new_process(
        "import sys; sys.path.insert(0, 'tests')\n"
        "import multiprocessing, numpy, aftrans_jax as aft\n"
        "from experiments import tiny_variants\n"
        "def ask(photo): return model(photo)\n"
        f"with tiny_variants(): model = aft.load({str(trained_run)!r}, batch_size=2)\n"
        "photos = numpy.zeros((3, 32, 32, 3), numpy.uint8); model(photos)\n"
        "for question in (model, ask):  # pickled, and as the child has it\n"
        "    with multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "        try: pool.map_async(question, photos).get(timeout=60)\n"
        "        except RuntimeError as error: print(error)\n"
        "print(len(model(photos)))"
    )
    assert done.count("loaded before this process was forked") == 2
    assert done.count("multiprocessing.get_context('spawn')") == 2
    assert done.endswith("\n3\n")


def test_a_box_is_in_pixels_of_the_photo(model, images):
    """The same picture eight times as wide gives the same box, eight times as wide."""
    small = model(images[0])
    wide = Image.fromarray(images[0]).resize((256, 96), Image.Resampling.NEAREST)
    found = model(wide)
    assert (found.height, found.width, found.seen) == (96, 256, (0, 0, 96, 256))
    np.testing.assert_array_equal(np.array(found.box) // (3, 8, 3, 8), small.box)


def test_what_is_no_photo_is_refused(model, photos, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no photo")
    good = sorted(photos.rglob("*.png"))[0]
    with pytest.raises(TypeError, match=r"pixels are float32: expected uint8"):
        model(np.zeros((2, 32, 32, 3), np.float32))
    with pytest.raises(ValueError, match=r"shape \(32, 32\)"):
        model(np.zeros((32, 32), np.uint8))
    with pytest.raises(ValueError, match=r"shape \(2, 3, 32, 32\)|shape \(3, 32, 32\)"):
        model(np.zeros((2, 3, 32, 32), np.uint8))
    with pytest.raises(ValueError, match="cannot decode"):
        model([good, tmp_path / "bad.jpg", good])
    with pytest.raises(FileNotFoundError):
        model(tmp_path / "absent.jpg")
    with pytest.raises(TypeError, match="photo"):
        model(b"\xff\xd8")
    with pytest.raises(TypeError, match="photo"):
        model([3])
    for nothing in (None, 3, {}):
        with pytest.raises(TypeError, match="photo"):
            model(nothing)
    for several in (photos, str(photos), "~", f"{photos}/*.png", photos / "[ab].png"):
        for take in (model, model.stream):
            with pytest.raises(ValueError, match=r"no image file: .* glob.glob\('photos/\*.jpg'\)"):
                take(several)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:-900])
    message = r"cut\.jpg' cannot be decoded \(image file is truncated"
    with Image.open(tmp_path / "cut.jpg") as cut, pytest.raises(OSError, match=message):
        model(cut)
    with pytest.raises(TypeError, match="pixels are <U"):
        model(np.array(str(good)))
    paths = np.array([str(good), str(good)])
    for several in (paths, paths.astype(object)):
        assert [found.photo for found in model(several)] == [str(good), str(good)]
    found = [prediction for _, prediction in model.stream([good, tmp_path / "bad.jpg", good])]
    assert [type(one) for one in found] == [aft.Prediction, ValueError, aft.Prediction]
    for one in (str(good), np.zeros((32, 32, 3), np.uint8)):
        ((photo, found),) = model.stream(one)
        assert photo is one
        assert isinstance(found, aft.Prediction)


def test_heads_are_chosen_and_checked(trained_run):
    with tiny_variants():
        local = aft.load(trained_run, head="local")
        assert local.head == "local"
        with pytest.raises(ValueError, match=r"head='both'.*global, local, sum"):
            aft.load(trained_run, head="both")
        with pytest.raises(ValueError, match=r"head=''.*global, local, sum"):
            aft.load(trained_run, head="")
        with pytest.raises(ValueError, match="batch_size=0"):
            aft.load(trained_run, batch_size=0)
    assert repr(local).startswith("<Classifier aftrans, 12 classes, local logits: ")


def test_a_model_without_a_region_says_none(rng):
    module = PlainViT(tiny_vit())
    params = random_params(module, rng, np.zeros((1, 22, 22, 3), np.uint8))
    sizes, names = {"image_size": 22, "resize_size": 33}, tuple("abcde")
    trained = Trained("vit", module, params, names, sizes, "global", {}, 10**6, {})
    found = aft.Classifier(trained)(Image.new("RGB", (99, 66)))
    assert (found.box, found.relevance, found.gates, found.crop) == (None,) * 4
    assert set(found.probabilities) == {"global"}
    assert found.seen == (10, 15, 54, 81)  # the middle two thirds: pixels 5 to 27 of 33
    with pytest.raises(ValueError, match="head='sum': expected one of global"):
        found.top(2, "sum")
    with pytest.raises(ValueError, match="head='sum'"):
        aft.Classifier(trained, head="sum")


def test_no_run_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json is absent"):
        aft.load(tmp_path)


def test_a_path_may_begin_with_the_home_directory(model, photos, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(photos / "00"))
    name = min(path.name for path in (photos / "00").iterdir())
    expected = model(photos / "00" / name)
    assert model(f"~/{name}").answers == expected.answers
    shutil.copy(photos / "00" / name, tmp_path / "~x$Y.png")  # a name like any other
    monkeypatch.chdir(tmp_path)
    assert model("~x$Y.png").answers == expected.answers


# -------------------------------------------------------------------------------- before training


def test_a_model_is_created_with_the_local_branch_s_tokens():
    config = aft.get_config("demo")
    module, params = aft.create("mini8", weights=MINI8, num_classes=7, config=config)
    arrays, leaves = read_npz(MINI8), flat(params)
    same = ("embedding/kernel", "Transformer/encoderblock_5/MlpBlock_3/Dense_1/bias", "cls")
    for name in same:
        np.testing.assert_array_equal(leaves[f"vit/{name}"], arrays[name])
    positions = arrays["Transformer/posembed_input/pos_embedding"]
    own = leaves["local/pos_embedding"]
    np.testing.assert_array_equal(own, resize_positions(positions, own.shape[1]))
    np.testing.assert_array_equal(leaves["local/cls"], arrays["cls"])
    assert leaves["vit/head/kernel"].shape == (96, 7)
    images = np.zeros((2, config.data.source_size, config.data.source_size, 3), np.uint8)
    output = jax.eval_shape(lambda: module.apply({"params": params}, images, train=False))
    assert output.logits["local"].shape == (2, 7)


@pytest.fixture(scope="module")
def unchecked():
    """What models and `create` say of what they cannot take, without the tests' checks of types."""
    said = in_new_process(
        "import sys; sys.path.insert(0, 'tests')\n"
        "import jax, numpy as np, jax.numpy as jnp, aftrans_jax as aft\n"
        "from experiments import tiny_config, tiny_variants\n"
        "from aftrans_jax.experiment.model import MODELS, build_model\n"
        "for name in MODELS:\n"
        "    with tiny_variants():\n"
        "        model = build_model(tiny_config(model__name=name), 3, jnp.dtype('float32'))\n"
        "    shapes = ((32, 32, 3), (2, 32, 32, 1), (0, 32, 32, 3), (2, 3, 32, 32),\n"
        "              (2, 64, 40, 3), (2, 40, 64, 3), (2, 24, 24, 3))\n"
        "    for shape in shapes:\n"
        "        for ask in ({'train': False}, {'method': 'global_logits'}):\n"
        "            try:\n"
        "                model.init(jax.random.key(0), np.zeros(shape, np.uint8), **ask)\n"
        "            except ValueError as error:\n"
        "                print(error)\n"
        "print('created')\n"
        "with tiny_variants():\n"
        "    aft.create('mini8', num_classes=np.int64(2), seed=np.uint8(3), config=tiny_config())\n"
        "for count in (1.5, '3', None):\n"
        "    try:\n"
        "        aft.create('ti16', num_classes=count)\n"
        "    except ValueError as error:\n"
        "        print(error)"
    )
    models, created = said.split("created\n")
    return models.splitlines(), created.splitlines()


def test_images_of_another_shape_are_refused_by_every_model(unchecked):
    lines = []
    for shape in ("(32, 32, 3)", "(2, 32, 32, 1)", "(0, 32, 32, 3)", "(2, 3, 32, 32)"):
        expected = (
            "expected [batch height width 3], one image or more. Give a single one as x[None]"
        )
        lines += [f"images of the shape {shape}: {expected}"] * 2
    for size in ("64 x 40", "40 x 64", "24 x 24"):
        expected = "expected square ones of 32 x 32 px or more, as they are shrunk and neither "
        expected += "stretched nor enlarged. Resize them, or pad them"
        lines += [f"images of {size} px: {expected}"] * 2
    assert unchecked[0] == lines * 4


def test_what_is_assumed_of_weights_is_said(tmp_path, caplog):
    weights = shutil.copy(MINI8, tmp_path / "deit_mini.npz")
    config = aft.get_config("demo")
    config.data.mean = (0.4, 0.5, 0.6)
    aft.create("mini8", weights=weights, num_classes=7, config=config)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said[0].startswith("deit_mini.npz: model.gelu=exact, data.std=(0.229,0.224,0.225) (DeiT")
    assert said[1].startswith("new head for 7 classes")
    assert said[-1].startswith("data.mean is '(0.4,0.5,0.6)': set --config.data.mean='(0.485,")


def test_a_plain_trunk_has_no_local_branch_and_its_configuration_is_left():
    config = tiny_config(model__name="vit", model__attention="cudnn")  # which is not here
    before = config.to_dict()
    with tiny_variants():
        params = aft.create("mini8", num_classes=3, config=config, seed=1).params
    assert config.to_dict() == before
    assert set(params) == {"vit"}
    assert params["vit"]["head"]["kernel"].shape == (12, 3)
    assert np.abs(params["vit"]["embedding"]["kernel"]).max() > 0


def test_what_is_not_given_is_the_configuration_s():
    config = aft.get_config("demo")  # of mini8's weights
    config.seed = 3
    own = flat(aft.create(num_classes=7, config=config).params)
    np.testing.assert_array_equal(own["vit/cls"], read_npz(MINI8)["cls"])
    given = flat(aft.create("mini8", num_classes=7, weights=MINI8, config=config, seed=3).params)
    assert all(np.array_equal(own[name], given[name]) for name in own)
    other = flat(aft.create(num_classes=7, config=config, seed=4).params)
    assert not np.array_equal(own["sacm/squeeze/kernel"], other["sacm/squeeze/kernel"])


def test_paths_of_a_configuration_are_expanded(monkeypatch):
    monkeypatch.setenv("HOME", str(MINI8.parent))
    config = aft.get_config("demo")
    config.pretrained, config.data.dir = "~/mini8.npz", "$HOME/photos"
    params = flat(aft.create(num_classes=7, config=config).params)
    np.testing.assert_array_equal(params["vit/cls"], read_npz(MINI8)["cls"])

    def launch(given, place, stop):
        assert place == MINI8.parent / "run"
        assert given.pretrained == str(MINI8)
        assert given.data.dir == f"{MINI8.parent}/photos"
        raise KeyboardInterrupt

    monkeypatch.setattr(library, "launch_training", launch)
    with pytest.raises(KeyboardInterrupt):
        aft.train(config, "~/run")
    assert (config.pretrained, config.data.dir) == ("~/mini8.npz", "$HOME/photos")


def test_what_cannot_be_created_is_refused(unchecked):
    with pytest.raises(ValueError, match="num_classes=0"):
        aft.create("ti16", num_classes=0)
    with pytest.raises(ValueError, match=r"model\.variant='ti17' is unknown"):
        aft.create("ti17", num_classes=2)
    for config in ({}, "cub"):
        with pytest.raises(TypeError, match=r"config is .*: expected a configuration, such as"):
            aft.create("ti16", num_classes=2, config=config)
        with pytest.raises(TypeError, match=r"get_config\('folder'\) gives"):
            aft.train(config, "run")
    assert unchecked[1] == [
        f"num_classes={count}: expected a whole number, 1 or more" for count in ("1.5", "'3'", None)
    ]
    with pytest.raises(ValueError, match="num_classes=True: expected a whole number"):
        aft.create("ti16", num_classes=True)
    with pytest.raises(ValueError, match="seed=-1: expected a whole number, 0 or more"):
        aft.create("ti16", num_classes=2, seed=-1)
    config = aft.get_config("folder")
    config.data.dir = None
    with pytest.raises(TypeError, match=r"config\.data\.dir is None: expected a value"):
        aft.train(config, "run")
    with pytest.raises(FileNotFoundError, match=r"no\.npz"):
        aft.create("ti16", num_classes=2, weights="no.npz")
    with pytest.raises(ValueError, match=r"model\.variant='ti16'"):
        aft.create("ti16", num_classes=2, weights=MINI8)


# --------------------------------------------------------------------------------------- training


def test_a_finished_run_is_left_and_loaded_and_another_is_refused(trained_run, tmp_path):
    """`trained_run` itself was trained by `aft.train` from its start."""
    shutil.copytree(trained_run, tmp_path / "run")
    config = configured(read_settings(trained_run))
    before = config.to_dict()
    with tiny_variants():
        model = aft.train(config, tmp_path / "run")
        assert config.to_dict() == before
        assert model.result == read_result(trained_run)
        config.seed = 5
        with pytest.raises(ValueError, match="seed was 0, is now 5"):
            aft.train(config, str(tmp_path / "run"))
        with pytest.raises(ValueError, match="workdir is empty"):
            aft.train(config, "")  # the current folder, for Path


def test_steps_beside_epochs_are_set_to_0_as_python_does_it(tmp_path):
    config = aft.get_config("cub")
    config.train.epochs = 5
    with pytest.raises(ValueError, match=r"by epochs set config\.train\.steps = 0 \("):
        aft.train(config, tmp_path / "run")


def test_configurations_are_found_by_name_or_path(tmp_path):
    assert aft.get_config("cub").data.name == "cub"
    assert aft.get_config("cub:recipe=paper").eval.logits == "global"
    (tmp_path / "mine.py").write_text(
        "from aftrans_jax.config import base_config\ndef get_config():\n    return base_config()\n"
    )
    assert aft.get_config(str(tmp_path / "mine.py")).train.steps == 10_000
    assert aft.get_config(tmp_path / "mine.py").train.steps == 10_000
    assert aft.get_config("configs/cub.py").data.name == "cub"  # as --config names it
    with pytest.raises(FileNotFoundError, match=r"'birds' is no configuration: .*cub, demo, dogs"):
        aft.get_config("birds")
    (tmp_path / "other.py").write_text("def config():\n    return 1\n")
    with pytest.raises(ValueError, match=r"other\.py has no get_config\(\): add one"):
        aft.get_config(str(tmp_path / "other.py"))
    with pytest.raises(ValueError, match=r"^demo has no recipes: leave ':recipe=paper' out"):
        aft.get_config("demo:recipe=paper")
    with pytest.raises(AttributeError, match="learning_rat"):
        aft.get_config("cub").train.learning_rat = 1
