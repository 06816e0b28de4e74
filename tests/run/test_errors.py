"""What a user sees when something is wrong: the exact message, through `aftrans_jax.main`."""

import errno
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from absl.testing import flagsaver
from flax.traverse_util import flatten_dict
from PIL import Image

from aftrans_jax import main
from aftrans_jax.config import base_config
from aftrans_jax.experiment import checks, model, weights_checks
from aftrans_jax.experiment.auto_settings import resolve_auto
from aftrans_jax.experiment.model import build_model, initial_params
from aftrans_jax.model.variants import VARIANTS, Variant
from aftrans_jax.run import results
from aftrans_jax.run.signals import StopRequest
from aftrans_jax.weights.npz import save_npz
from aftrans_jax.workdir.lock import locked

CONFIG = "--config=configs/cub.py"
IMAGES = [f"1/{number}.jpg" for number in range(8)]
TINY = [
    "--config.model.name=vit",
    "--config.model.variant=mini8",
    "--config.model.stride=8",
    "--config.data.image_size=16",
    "--config.data.source_size=16",
    "--config.data.local_size=16",
    "--config.pretrained=",
    "--config.data.num_threads=0",
    "--config.train.steps=1",
    "--config.train.warmup_steps=0",
    "--config.train.batch_size=4",
    "--config.eval.batch_size=4",
    "--noconfig.report.tensorboard",
]
VARIANTS_HERE = {**VARIANTS, "mini8": Variant(8, 8, 8, 1, 1)}


@pytest.fixture(autouse=True)
def tiny_variant(monkeypatch, tmp_path):
    monkeypatch.setattr(model, "VARIANTS", VARIANTS_HERE)
    monkeypatch.setattr(checks, "VARIANTS", VARIANTS_HERE)
    monkeypatch.setattr(weights_checks, "VARIANTS", VARIANTS_HERE)
    monkeypatch.setattr("aftrans_jax.experiment.auto_settings.VARIANTS", VARIANTS_HERE)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cub(tmp_path) -> Path:
    """Eight images of two classes in the layout of CUB-200-2011, half of them for training."""
    root = tmp_path / "cub"
    (root / "images" / "1").mkdir(parents=True)
    numbers = range(8)
    lists = {
        "classes.txt": ["1 001.Gull", "2 002.Tern"],
        "images.txt": [f"{i} {IMAGES[i]}" for i in numbers],
        "image_class_labels.txt": [f"{i} {1 + i % 2}" for i in numbers],
        "train_test_split.txt": [f"{i} {int(i < 4)}" for i in numbers],
    }
    for name, rows in lists.items():
        (root / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    for i in numbers:
        Image.new("RGB", (20, 18), (30 * i, 90, 9)).save(root / "images" / IMAGES[i], format="JPEG")
    return root


@pytest.fixture
def call(monkeypatch):
    def run(*arguments: str) -> None:
        argv = ["main", CONFIG, "--workdir=run", *arguments]
        monkeypatch.setattr("sys.argv", argv)
        with flagsaver.flagsaver():
            main.main(main.parse_flags(argv))

    return run


@pytest.fixture
def seen(call):
    """Runs `main`, which must exit; returns what it says without the line about error.log.

    What is refused leaves no folder behind; what fails in a training leaves its traceback.
    """

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as caught:
            call(*arguments)
        # A text as the code is written to stderr by Python, which then exits with 1.
        message, _, where = caught.value.code.partition("\n(traceback in ")
        if not where:
            assert not Path("run").exists()
            return message
        assert where == "run/error.log)"
        log = Path("run/error.log").read_text(encoding="utf-8")
        assert log.startswith("Traceback")
        assert message.removeprefix("error: ") in log
        return message

    return run


# ---------------------------------------------------------------------------------------- first run


def test_the_paper_s_configuration_without_its_data_says_what_to_set(seen):
    assert seen() == (
        "error: no images.txt in data/CUB_200_2011 or data/CUB_200_2011/CUB_200_2011: expected "
        "the official layout. Set data.dir to the folder that CUB_200_2011.tgz "
        "unpacks to."
    )


def test_then_without_its_weights(seen, cub):
    assert seen(*TINY, f"--config.data.dir={cub}", "--config.pretrained=ViT-B_16.npz") == (
        "error: 'ViT-B_16.npz' is not a file: expected one of a ViT's weights, or the name of "
        "official ones, such as imagenet21k/ViT-B_16, or hf:OWNER/MODEL, which are downloaded; "
        "as pretrained= of a training, an empty value means random weights"
    )


def test_a_configuration_that_is_not_there_is_named(monkeypatch):
    for override in ([], ["--config.train.steps=1"]):
        argv = ["main", "--config=configs/nosuch.py", "--workdir=run", *override]
        monkeypatch.setattr("sys.argv", argv)
        with flagsaver.flagsaver(), pytest.raises(SystemExit) as caught:
            main.main(main.parse_flags(argv))
        assert caught.value.code.startswith("error: --config=configs/nosuch.py is no file: ")


def test_an_unknown_key_is_told_before_anything_is_written(call):
    with pytest.raises(SystemExit) as caught:
        call("--config.train.step=5")
    assert caught.value.code == (
        "error: --config.train.step is no key of the configuration; did you mean one of "
        "train.steps, train.ema, train.epochs? (--help lists all keys)"
    )
    assert not Path("run").exists()


def test_a_stray_argument_is_refused(monkeypatch):
    argv = ["main", CONFIG, "train.steps=5"]
    monkeypatch.setattr("sys.argv", argv)
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as caught:
        main.main(main.parse_flags(argv))
    assert caught.value.code == (
        "error: unexpected arguments ['train.steps=5']: every option is a --flag=value"
    )


# ------------------------------------------------------------------------------------------ values


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "train.batch_size=6",
            "train.batch_size=6 cannot be split over 4 devices, in train.accumulation_steps=1 "
            "parts each: use --config.train.batch_size=8, or another multiple of 4; or, since a "
            "run keeps its batch, devices that divide it",
        ),
        (
            "data.image_size=20",
            "data.image_size=20 does not fit model.stride=8: 2 patches of 8 px cover 16 px; "
            "use 16 or 24, or another stride",
        ),
        (
            "sacm.selection=all",
            "sacm.selection='all' is unknown: choose one of fused, union, votes",
        ),
        (
            "eval.logits=local",
            "eval.logits='local': model.name='vit' has global logits only; "
            "use --config.eval.logits=auto",
        ),
        ("train.learning_rate=nan", "train.learning_rate=nan must be above 0 and finite"),
        ("train.clip_norm=inf", "train.clip_norm=inf must be above 0 and finite"),
        (
            "data.mean=(a,b,c)",
            "data.mean=('(a,b,c)',) must be three numbers from -1 to 1, one a channel of pixels in "
            "[0, 1]; for example --config.data.mean='(0.5,0.5,0.5)'",
        ),
    ],
)
def test_a_value_that_cannot_work_is_named(seen, argument, message):
    assert seen(*TINY, f"--config.{argument}") == f"error: {message}"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("train.learning_rate=0", "train.learning_rate=0.0 must be above 0 and finite"),
        (
            "train.warmup_steps=10000",
            "train.warmup_steps=10000 must be at least 0 and below train.steps=10000: shorten the "
            "warm-up or train longer",
        ),
        (
            "train.warmup_steps=-2",
            "train.warmup_steps=-2 must be at least 0 and below train.steps=10000: shorten the "
            "warm-up or train longer",
        ),
        (
            "data.resize_ratio=inf",
            "data.resize_ratio=inf must lie in [1, 10]: images are resized to ratio x "
            "data.source_size and cropped from there",
        ),
        ("data.test_fraction=20", "data.test_fraction=20.0 must lie in (0, 1), such as 0.2"),
        (
            "model.name=aftran",
            "model.name='aftran' is unknown: choose one of aftrans, vit, transfg, rams",
        ),
        (
            "data.dir=",
            "data.dir is empty: expected where the images of data.name='cub' are; for the folder "
            "that you are in, --config.data.dir=.",
        ),
    ],
)
def test_what_needs_no_weights_is_refused_before_they_are_downloaded(
    seen, cub, monkeypatch, argument, message
):
    monkeypatch.setattr("aftrans_jax.run.launch.resolve_auto", lambda *_: pytest.fail("downloaded"))
    given = (f"--config.data.dir={cub}", "--config.pretrained=imagenet21k/ViT-B_16")
    assert seen(*given, f"--config.{argument}") == f"error: {message}"


def test_a_list_without_its_kind_is_refused_before_weights_are_downloaded(seen, monkeypatch):
    Path("photos.csv").touch()
    monkeypatch.setattr("aftrans_jax.run.launch.resolve_auto", lambda *_: pytest.fail("downloaded"))
    message = seen("--config.data.name=folder", "--config.data.dir=photos.csv")
    assert message.endswith("For a CSV list add --config.data.name=csv")


def test_evaluation_without_a_checkpoint(call, cub):
    with pytest.raises(SystemExit) as caught:
        call(*TINY, f"--config.data.dir={cub}", "--mode=eval")
    assert not Path("run").exists()  # a reader creates nothing
    assert caught.value.code == (
        f"error: --mode=eval: {Path('run/checkpoints').resolve()} holds no checkpoint: train "
        "first, or pass the --workdir of a trained run"
    )


@pytest.mark.parametrize(
    ("workdir", "message"),
    [("runs/new", "does not fit"), ("runs [1]/new", r"below a path with '\[1\]': choose another")],
)
def test_what_is_refused_leaves_no_folder_behind(workdir, message, monkeypatch):
    argv = ["main", CONFIG, f"--workdir={workdir}", *TINY, "--config.data.image_size=20"]
    monkeypatch.setattr("sys.argv", argv)
    with flagsaver.flagsaver(), pytest.raises(SystemExit, match=message):
        main.main(main.parse_flags(argv))
    assert list(Path().iterdir()) == []


def test_a_second_training_is_refused_and_writes_nothing(call, cub):
    Path("run").mkdir()
    with locked(Path("run")):
        before = Path("run/.lock").read_text()
        with pytest.raises(SystemExit) as caught:
            call(*TINY, f"--config.data.dir={cub}")
        assert caught.value.code.startswith("error: run is in use: process ")
        assert "\n" not in caught.value.code
        assert [path.name for path in Path("run").iterdir()] == [".lock"]
        assert Path("run/.lock").read_text() == before


def test_a_workdir_that_is_a_file_is_named_at_once(call):
    Path("run").touch()
    with pytest.raises(SystemExit) as caught:
        call()
    assert caught.value.code == (
        "error: --workdir=run: run is a file: expected a folder, or a name that is free"
    )


@pytest.mark.parametrize("name", ["predictions.csv", "commands.txt/x", "tensorboard/events"])
def test_a_folder_of_the_user_s_own_is_left_as_it_is(call, cub, name):
    mine = Path("run", name)
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(SystemExit) as caught:
        call(*TINY, f"--config.data.dir={cub}")
    assert "hoose another" in caught.value.code
    assert "\n" not in caught.value.code
    assert mine.read_text() == "mine"
    assert list(Path("run").rglob("*")) in ([mine], [mine.parent, mine])


def test_a_workdir_that_cannot_be_made_is_named(call, cub, monkeypatch):
    made = Path.mkdir

    def refused(path, *arguments, **options):
        if path.name != "run":  # of the programs that are kept, say
            return made(path, *arguments, **options)
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(SystemExit) as caught:
        call(*TINY, f"--config.data.dir={cub}")
    assert caught.value.code == (
        "error: the folder run cannot be made (No such file or directory): choose another"
    )


# --------------------------------------------------------------------------------------------- npz


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    config, _ = resolve_auto(base_config())
    config.model.name, config.model.variant, config.model.stride = "vit", "mini8", 8
    config.data.image_size = config.data.source_size = config.data.local_size = 16
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "VARIANTS", VARIANTS_HERE)
        params, _ = initial_params(config, build_model(config, 2, np.dtype("float32")))
    return flatten_dict(params["vit"], sep="/")


def write_npz(kind: str, arrays: dict[str, np.ndarray]) -> None:
    path, arrays = Path("x.npz"), dict(arrays)
    if kind == "wrong shape":
        arrays["cls"] = np.zeros((1, 1, 9), np.float32)
    elif kind == "missing key":
        del arrays["Transformer/encoder_norm/scale"]
    elif kind == "pickled":
        arrays["cls"] = np.array([None], object)
    elif kind == "not finite":
        arrays["cls"] = arrays["cls"] + np.nan
    np.savez(path, **arrays)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:3000])


UNREADABLE = (
    "pretrained='x.npz': cannot be read as an npz of plain arrays ({}): download it again and "
    "compare its size with the source's, or save it as plain arrays"
)
MISFIT = (
    "pretrained='x.npz': the file does not fit the model; {}. Check model.variant against the file"
)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated", UNREADABLE.format("it is only the beginning of one")),
        ("pickled", UNREADABLE.format("cls holds pickled Python objects, which may run any code")),
        ("wrong shape", MISFIT.format("of another shape: cls (1, 1, 9) instead of (1, 1, 8)")),
        ("missing key", MISFIT.format("missing: Transformer/encoder_norm/scale")),
        (
            "not finite",
            "pretrained='x.npz': non-finite numbers in cls: the file is damaged, download it again",
        ),
    ],
)
def test_bad_weights(seen, cub, weights, kind, message):
    write_npz(kind, weights)
    arguments = (*TINY, f"--config.data.dir={cub}", "--config.pretrained=x.npz")
    assert seen(*arguments) == f"error: {message}"


# ------------------------------------------------------------------------------------- annotations


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


REMEDY = "Restore the lists from CUB_200_2011.tgz (https://data.caltech.edu/records/65de6-vp158)."


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (
            "image_class_labels.txt",
            "3 2\n",
            "",
            "{file} has no row for 1 of the 8 ids in the list of images, the first: [3]: expected "
            "every id in every list. ",
        ),
        (
            "image_class_labels.txt",
            "3 2\n",
            "3 9\n",
            "{file}, row 4: '3 9': expected an id and one of the 2 class ids in classes.txt. ",
        ),
        (
            "train_test_split.txt",
            "0 1\n",
            "0 yes\n",
            "{file}, row 1: '0 yes': expected an id and 1 (train) or 0 (test). ",
        ),
    ],
)
def test_bad_annotations(seen, cub, name, old, new, message):
    edit(cub / name, old, new)
    expected = message.format(file=cub / name) + REMEDY
    assert seen(*TINY, f"--config.data.dir={cub}") == f"error: {expected}"


def test_an_absent_list(seen, cub):
    (cub / "train_test_split.txt").unlink()
    message = f"error: no train_test_split.txt in {cub}. {REMEDY}"
    assert seen(*TINY, f"--config.data.dir={cub}") == message


def test_an_absent_image(seen, cub):
    (cub / "images" / IMAGES[5]).unlink()
    assert seen(*TINY, f"--config.data.dir={cub}") == (
        f"error: 1 of 8 images of cub are not below {cub / 'images'}, the first: 1/5.jpg: expected "
        "every listed image. Unpack the archive again, or set data.dir to the folder that holds "
        "all of it. data.on_error='skip' is for images that cannot be decoded; a list without the "
        "missing ones is written by python -m aftrans_jax.check_data with the same settings and "
        f"--write={cub / 'images' / 'clean.csv'}"
    )


def test_an_absent_folder(seen):
    assert seen(*TINY, "--config.data.dir=nowhere").startswith(
        "error: no images.txt in nowhere or nowhere/CUB_200_2011: expected the official layout"
    )


# ------------------------------------------------------------------------------------------ images


@pytest.mark.parametrize("size", [0, 300])
def test_a_damaged_image_is_named_by_the_training(seen, cub, size):
    path = cub / "images" / IMAGES[2]
    path.write_bytes(path.read_bytes()[:size])
    message = seen(*TINY, f"--config.data.dir={cub}")
    assert message.startswith(f"error: cannot decode '{path}' ({size} bytes): ")
    assert message.endswith(
        ". Expected a complete image file (JPEG, PNG, ...); fetch it again, or take it off the "
        "list of images."
    )


def test_a_damaged_image_may_be_skipped_and_is_reported(call, cub, capsys, monkeypatch):
    for number in (2, 6):
        (cub / "images" / IMAGES[number]).write_bytes(b"")
    compared = []
    find = results.find_baseline
    monkeypatch.setattr(
        results, "find_baseline", lambda *given: compared.append(given[3]) or find(*given)
    )
    call(*TINY, f"--config.data.dir={cub}", "--config.data.on_error=skip")
    assert compared == [["1/4.jpg", "1/5.jpg", "1/7.jpg"]]
    result = json.loads(Path("run/result.json").read_text(encoding="utf-8"))
    assert result["skipped_images"] == {"train": ["1/2.jpg"], "test": ["1/6.jpg"]}
    assert (result["num_train"], result["num_test"]) == (4, 3)
    assert np.isfinite(result["test_loss"])
    assert "skipped 1 unreadable test images, the first: 1/6.jpg" in capsys.readouterr().out
    report = Path("run/report/index.html").read_text(encoding="utf-8")
    assert "test images named right by" in report
    assert "images per second" not in report  # a single step has no speed: no tile that says nan


def test_images_skipped_before_an_interruption_are_reported_after_it(call, cub, monkeypatch):
    def stop_at_1(request, number):
        if number == 1:
            request._requested = signal.SIGTERM
        return bool(request._requested)

    damaged = cub / "images" / IMAGES[2]
    sound = damaged.read_bytes()
    damaged.write_bytes(b"")
    three = [argument.replace("steps=1", "steps=3") for argument in TINY]
    arguments = (*three, f"--config.data.dir={cub}", "--config.data.on_error=skip")
    with monkeypatch.context() as interrupted:
        interrupted.setattr(StopRequest, "__call__", stop_at_1)
        interrupted.setattr(os, "_exit", sys.exit)
        with pytest.raises(SystemExit) as caught:
            call(*arguments)
    assert caught.value.code == 128 + signal.SIGTERM
    names = json.loads(Path("run/skipped_images.json").read_text(encoding="utf-8"))
    del names["checksum"]
    assert names == {"train": ["1/2.jpg"], "test": []}
    damaged.write_bytes(sound)
    call(*arguments)
    result = json.loads(Path("run/result.json").read_text(encoding="utf-8"))
    assert (result["step"], result["skipped_images"]) == (3, names)


def test_a_cache_that_fits_is_announced(call, cub, capsys):
    call(*TINY, f"--config.data.dir={cub}", "--config.data.cache=ram")
    assert "cache: 8 images of 16 x 16 px take 0.00 GB" in capsys.readouterr().out


def test_unusual_images_train_and_are_evaluated(call, cub):
    """Greyscale, CMYK, turned by EXIF, a single pixel: four to learn from, four to be scored on."""
    turned = Image.Exif()
    turned[0x0112] = 6
    for first in (0, 4):
        folder = cub / "images"
        Image.new("L", (20, 18), 70).save(folder / IMAGES[first])
        Image.new("CMYK", (20, 18), (9, 80, 7, 6)).save(folder / IMAGES[first + 1])
        Image.new("RGB", (20, 18), (9, 80, 7)).save(folder / IMAGES[first + 2], exif=turned)
        Image.new("RGB", (1, 1), (9, 80, 7)).save(folder / IMAGES[first + 3])
    call(*TINY, f"--config.data.dir={cub}")
    result = json.loads(Path("run/result.json").read_text(encoding="utf-8"))
    assert (result["step"], result["num_test"], result["num_train"]) == (1, 4, 4)
    assert np.isfinite(result["test_loss"])
    assert not Path("run/error.log").exists()


def test_saved_weights_fine_tune(call, cub, weights):
    """The fixture's weights are sound, so what the tests above report is what they broke."""
    save_npz("x.npz", weights)
    arguments = (*TINY, f"--config.data.dir={cub}", "--config.pretrained=x.npz")
    with pytest.raises(SystemExit, match="holds no checkpoint"):
        call(*arguments, "--mode=eval")
