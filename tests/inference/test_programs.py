"""A trained model in one file, and as a program: the same numbers, and nothing else in silence."""

import json
import subprocess
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import tiny_config, tiny_variants
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import apply, flat, random_params

from aftrans_jax.experiment.model import build_model
from aftrans_jax.inference import programs
from aftrans_jax.inference.programs import program, write_program
from aftrans_jax.inference.trained_model import Trained, load_trained, save_trained
from aftrans_jax.settings import flat as by_key

NAMES = ("Grün", "a/b", "c,d")
SIDE = 32


def some_model(name="aftrans", **changes):
    """A trained model, but for the training."""
    config = tiny_config(model__name=name, eval__logits="sum", **changes)
    rng = np.random.default_rng(0)
    with tiny_variants():
        model = build_model(config, len(NAMES), jnp.dtype("float32"))
    params = random_params(model, rng, np.zeros((1, SIDE, SIDE, 3), np.uint8))
    return Trained(
        name=name,
        model=model,
        params=params,
        class_names=NAMES,
        sizes={"image_size": SIDE, "resize_size": SIDE},
        head="sum" if name == "aftrans" else "global",
        result={"step": 6, "num_test": 20, "sum_accuracy": 0.75, "device": "left out"},
        max_pixels=1000,
        settings=by_key(config.to_dict()) | {"data.max_pixels": 1000},
    )


@pytest.fixture(scope="module")
def trained():
    return some_model()


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "aftrans.npz"
    save_trained(path, trained)
    return path


def loaded(path, **options):
    with tiny_variants():
        return load_trained(path, **options)


# --------------------------------------------------------------------------------------- one file


def test_a_file_holds_all_that_was_trained(trained, saved):
    found = loaded(saved)
    expected, arrays = flat(trained.params), flat(found.params)
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected[name])
    assert found.result == {"step": 6, "num_test": 20, "sum_accuracy": 0.75}
    assert found.model.vit == trained.model.vit
    same = ("name", "class_names", "sizes", "head", "max_pixels", "settings")
    assert [getattr(found, key) for key in same] == [getattr(trained, key) for key in same]


def test_it_computes_in_the_precision_that_is_asked_for(saved):
    assert loaded(saved).model.vit.dtype == jnp.float32
    found = loaded(saved, precision="bfloat16")
    assert found.model.vit.dtype == jnp.bfloat16
    assert {x.dtype for x in jax.tree.leaves(found.params)} == {np.dtype("float32")}


def test_it_is_an_ordinary_npz(saved):
    with np.load(saved, allow_pickle=False) as arrays:
        record = json.loads(arrays["aftrans.json"].tobytes())
        assert arrays["vit/cls"].dtype == np.float32
    assert record["class_names"] == list(NAMES)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damage_is_an_error_or_changes_nothing(data, trained, saved, tmp_path_factory):
    content = bytearray(saved.read_bytes())
    if data.draw(st.booleans(), label="cut"):
        del content[data.draw(st.integers(0, len(content) - 1), label="length") :]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.mktemp("damaged") / "x.npz"
    path.write_bytes(content)
    try:
        found = loaded(path)
    except ValueError as error:
        if str(path) not in str(error) or "download" in str(error):  # nobody downloaded it
            raise
        return
    assert found.class_names == NAMES
    expected = flat(trained.params)
    for name, array in flat(found.params).items():
        np.testing.assert_array_equal(array, expected[name])


def rewritten(saved, tmp_path, change):
    with np.load(saved) as file:
        arrays = {name: file[name] for name in file.files}
    change(arrays)
    path = tmp_path / "changed.npz"
    np.savez(path, **arrays)
    return path


def with_record(**changes):
    def change(arrays):
        record = json.loads(arrays["aftrans.json"].tobytes()) | changes
        arrays["aftrans.json"] = np.frombuffer(json.dumps(record).encode(), np.uint8)

    return change


def without_a_record(arrays):
    del arrays["aftrans.json"]


def as_text(arrays):
    arrays["aftrans.json"] = np.array("{}")


def without_an_array(arrays):
    del arrays["local/cls"]


def with_another_shape(arrays):
    arrays["vit/head/bias"] = np.zeros(4, np.float32)


def with_nan(arrays):
    arrays["vit/cls"] = np.full_like(arrays["vit/cls"], np.nan)


def test_a_program_is_told_from_a_whole_model(tmp_path):
    (tmp_path / "a.stablehlo").write_bytes(b"program")
    for precision in ("float32", "bfloat16"):
        with pytest.raises(ValueError, match=r"it is an exported program, .*--format=aftrans") as e:
            loaded(tmp_path / "a.stablehlo", precision=precision)
        assert "computes in the float32 that it was exported in" in str(e.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_a_record, "not a whole trained model.*--format=aftrans.*--config.pretrained"),
        (as_text, "aftrans.json is damaged .an array of <U2"),
        (with_record(class_names=[]), "aftrans.json is damaged"),
        (with_record(class_names=[1, 2, 3]), "aftrans.json is damaged"),
        (with_record(settings=None), "settings is None"),
        (with_record(settings={"model.wings": 2}), "does not know: model.wings"),
        (with_record(class_names=["a", "b"]), "settings; of another shape: vit/head/bias "),
        (without_an_array, "settings; missing: local/cls. Write"),
        (with_another_shape, "settings; of another shape: vit/head/bias "),
        (with_nan, "non-finite numbers in vit/cls: the file is damaged. Copy it again, or write"),
    ],
)
def test_another_content_is_named(saved, tmp_path, change, message):
    path = rewritten(saved, tmp_path, change)
    with pytest.raises(ValueError, match=message) as error:
        loaded(path)
    assert str(path) in str(error.value)


def test_half_a_file_is_to_be_copied_or_written_again(saved, tmp_path):
    path, content = tmp_path / "half.npz", saved.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(
        ValueError, match=r"half\.npz: cannot be read as .*Copy it again, or write it"
    ):
        loaded(path)


def test_another_kind_of_file_is_named(tmp_path):
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", b"x")
    with pytest.raises(ValueError, match=r"x\.pth: it is a PyTorch file"):
        loaded(path)
    with pytest.raises(FileNotFoundError, match=r"--format=aftrans"):
        loaded(tmp_path / "absent.npz")


# --------------------------------------------------------------------------------------- programs

ELSEWHERE = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("aftrans_jax", "flax"):
            raise ImportError(name)
sys.meta_path.insert(0, Nothing())
from pathlib import Path
import numpy as np
from jax import export
images = np.load("images.npy")
for path in map(Path, sys.argv[1:]):
    program = export.deserialize(bytearray(path.read_bytes()))
    assert program.platforms == ("cpu", "cuda", "tpu"), program.platforms
    for count in (1, 3):
        np.savez(f"{path.stem}{count}.npz", **program.call(images[:count]))
"""
PROGRAMS = {"aftrans": ("sum", True), "vit": ("global", False)}


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """The folder in which a process without this package has run both programs."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for name, (logits, with_region) in PROGRAMS.items():
        path = folder / f"{name}.stablehlo"
        write_program(path, some_model(name), "stablehlo", logits, with_region=with_region)
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    np.save(folder / "images.npy", pixels)
    command = [sys.executable, "-c", ELSEWHERE, *(f"{name}.stablehlo" for name in PROGRAMS)]
    subprocess.run(command, check=True, cwd=folder)
    return folder


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_gives_the_same_numbers_without_this_package(name, elsewhere):
    logits, with_region = PROGRAMS[name]
    trained, images = some_model(name), np.load(elsewhere / "images.npy")
    described = json.loads((elsewhere / f"{name}.stablehlo.json").read_text())
    output = apply(trained.model, trained.params, images, train=False)
    probabilities = jax.nn.softmax(sum(output.logits[k] for k in output.logits))  # as table 4's sum
    if logits == "global":
        probabilities = jax.nn.softmax(output.logits["global"])
    for count in (1, 3):
        given = np.load(elsewhere / f"{name}{count}.npz")
        assert set(given.files) == set(described["outputs"])
        np.testing.assert_allclose(given["probabilities"], probabilities[:count], atol=1e-5)
        if with_region:
            np.testing.assert_array_equal(given["box"], output.region.box[:count])
            relevance = output.region.relevance[:count]
            np.testing.assert_allclose(given["relevance"], relevance, atol=1e-5)
    assert described["class_names"] == list(NAMES)
    assert described["step"] == 6
    assert described["images"]["shape"] == ["batch", SIDE, SIDE, 3]


def test_a_program_is_described_for_those_who_have_to_feed_it(trained):
    outputs = {
        "probabilities": jax.ShapeDtypeStruct((1, 3), jnp.float32),
        "box": jax.ShapeDtypeStruct((1, 4), jnp.int32),
    }
    found = programs._description(trained, "sum", outputs)
    images = "RGB photos, upright, shrunk with antialiasing to 32 x 32 px"
    assert found["images"]["meaning"] == images
    assert found["outputs"] == {
        "probabilities": {
            "shape": ["batch", 3],
            "dtype": "float32",
            "meaning": "of the classes, by the sum logits",
        },
        "box": {
            "shape": ["batch", 4],
            "dtype": "int32",
            "meaning": "the region, (top, left, bottom, right), half-open, in pixels of the images",
        },
    }
    assert (found["step"], found["accuracy"]) == (6, 0.75)
    trained = trained._replace(sizes={"image_size": SIDE, "resize_size": 40})
    found = programs._description(trained, "local", outputs)
    images = images.replace("32 x 32", "40 x 40") + ", of which the middle 32 x 32 is taken"
    assert found["images"]["meaning"] == images
    assert found["accuracy"] is None  # what the local logits have is not known


def test_what_a_model_has_not_is_refused(trained):
    with pytest.raises(ValueError, match=r"--logits=sum: .*'vit', which has global logits only"):
        program(some_model("vit"), "sum", with_region=False)
    with pytest.raises(ValueError, match=r"--region: .*'vit'"):
        program(some_model("vit"), "global", with_region=True)


@pytest.mark.parametrize("kind", ["stablehlo", "onnx"])
def test_a_program_that_its_form_cannot_hold_is_refused(trained, tmp_path, monkeypatch, kind):
    size = sum(x.nbytes for x in flat(trained.params).values())
    monkeypatch.setattr(programs, "LARGEST", size - 1)
    message = rf"--format={kind}: .*{size:,} bytes, .*less than 2 GiB.*--format=aftrans"
    with pytest.raises(ValueError, match=message):
        write_program(tmp_path / "x", trained, kind, "global", with_region=False)
    assert not list(tmp_path.iterdir())


def test_onnx_gives_the_same_numbers(trained, tmp_path, rng):
    pytest.importorskip("jax2onnx", reason="it asks for an older orbax-checkpoint")
    runtime = pytest.importorskip("onnxruntime")
    path = tmp_path / "x.onnx"
    with pytest.raises(ValueError, match="only the global logits can be exported"):
        write_program(path, trained, "onnx", "sum", with_region=False)
    write_program(path, trained, "onnx", "global", with_region=False)
    session = runtime.InferenceSession(path)
    for count in (1, 3):
        images = rng.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
        (probabilities,) = session.run(["probabilities"], {"images": images})
        output = apply(trained.model, trained.params, images, train=False)
        np.testing.assert_allclose(
            probabilities, jax.nn.softmax(output.logits["global"]), atol=1e-5
        )


def test_onnx_without_its_package_says_how_to_get_it(trained, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(ValueError, match=r"needs jax2onnx.*pip install --no-deps jax2onnx"):
        write_program(tmp_path / "x.onnx", trained, "onnx", "global", with_region=False)
