"""`predict` and `export` as commands: which head answers, what may be given, what fails."""

import functools
import io
import json
import os
import shutil
import sys
import tracemalloc

import numpy as np
import pytest
from experiments import edit, tiny_variants
from npz_file import read_npz
from PIL import Image
from predicting import ended, predicting

from aftrans_jax import export
from aftrans_jax.inference import batch_outputs, classifier
from aftrans_jax.inference.classifier import Classifier
from aftrans_jax.inference.options import BATCH_SIZE
from aftrans_jax.inference.preprocessing import prepare, prepared

NUM_TEST, NUM_STEPS = 60, 60


@pytest.fixture
def workdir(trained_run):
    return trained_run


@pytest.fixture
def call(workdir, monkeypatch, capsys):
    run = predicting(workdir, monkeypatch, capsys)

    def rows(*arguments, **expected):
        printed, said = run(*arguments, **expected)
        return [line.split("\t") for line in printed], said

    return rows


# ----------------------------------------------------------------------------------- which logits


@pytest.mark.parametrize("logits", [None, "global", "local", "sum"])
def test_the_answers_are_as_right_as_result_json_says(call, workdir, photos, logits):
    rows, said = call(photos, "--top=1", *([f"--logits={logits}"] if logits else []))
    names = json.loads((workdir / "classes.json").read_text())
    result = json.loads((workdir / "result.json").read_text())
    right = [names[int(path.split("/")[-2])] == name for path, _, name in rows]
    assert len(right) == NUM_TEST
    accuracy = result[f"{logits or 'sum'}_accuracy"]
    assert sum(right) / NUM_TEST == pytest.approx(accuracy, abs=1e-7)
    title = {None: "sum of global and local", "sum": "sum of global and local"}.get(logits, logits)
    assert said == [f"{title} logits: {accuracy:.1%} on {NUM_TEST} test images at step {NUM_STEPS}"]


def test_global_logits_alone_take_one_pass(call, photos, monkeypatch):
    def never(model, params, images):
        raise AssertionError("the whole model was called")

    monkeypatch.setattr(batch_outputs, "_both_passes", never)
    monkeypatch.setattr(classifier, "Classifier", Classifier)  # compiles anew
    call(photos, "--logits=global", "--top=1")
    _, said = call(photos, "--logits=local", "--top=1", code=1)
    assert "the whole model was called" in said[-1]


@pytest.mark.parametrize("content", [None, "", "[1]", "{}", '{"sum_accuracy": null}', "\xff"])
def test_a_result_that_is_not_there_is_said(call, workdir, photos, tmp_path, content):
    shutil.copytree(workdir, tmp_path / "run")
    path = tmp_path / "run" / "result.json"
    path.unlink()
    if content is not None:
        path.write_text(content, encoding="latin-1")
    rows, said = call(photos / "00", "--top=1", where=tmp_path / "run")
    assert rows
    assert said == [
        "sum of global and local logits: the accuracy is not known, result.json does not tell it "
        f"of step {NUM_STEPS}"
    ]


# ----------------------------------------------------------------------------------- what is given


def photo(photos, number=0) -> str:
    return str(sorted(photos.rglob("*.png"))[number])


def paths_of(rows) -> list[str]:
    return [path for path, *_ in rows]


def test_output_order_is_input_order(call, photos):
    first, second = photo(photos, -1), photo(photos)
    rows, _ = call(first, second, "--top=2")
    assert paths_of(rows) == [first, first, second, second]
    probabilities = [float(probability.rstrip("%")) for _, probability, _ in rows]
    assert probabilities[0] >= probabilities[1]


def test_folders_globs_and_lists_are_the_same_images(call, photos, monkeypatch):
    everything = sorted(str(path) for path in photos.rglob("*.png"))
    (photos / "note.txt").write_text("no photo")
    assert paths_of(call(photos, "--top=1")[0]) == everything
    (photos / "note.txt").unlink()
    assert paths_of(call(f"{photos}/**/*.png", "--top=1")[0]) == everything
    assert paths_of(call(f"{photos}/*", "--top=1")[0]) == everything
    lines = "\n".join([*everything[5:], "", f"{photos / '00'}\r"])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    listed = paths_of(call("-", "--top=1")[0])
    assert listed[: len(everything) - 5] == everything[5:]
    assert set(listed) <= set(everything)


def test_a_path_in_quotes_is_told_of_them(call, photos, monkeypatch):
    lines = f"{photo(photos)}\n'{photo(photos)}'\n".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    rows, said = call("-", "--top=1", code=1)
    assert paths_of(rows) == [photo(photos)]
    assert said[-1].endswith(": expected a path without quotes, which count as part of it")


def test_a_name_with_signs_of_globs_is_a_file_where_there_is_one(call, photos, tmp_path):
    shutil.copy(photo(photos), tmp_path / "a[1]*.png")
    assert paths_of(call(tmp_path / "a[1]*.png", "--top=1")[0]) == [f"{tmp_path}/a[1]*.png"]


def test_home_and_variables_are_expanded(call, photos, monkeypatch):
    monkeypatch.setenv("HOME", str(photos))
    monkeypatch.setenv("PHOTOS", str(photos))
    for given in ("~/00/*", "$PHOTOS/00/*"):
        assert paths_of(call(given, "--top=1")[0])[0] == photo(photos)


def test_what_is_given_twice_is_named_once_and_said(call, photos):
    rows, said = call(photos / "00", photo(photos), f"{photos}/00/../00", "--top=1")
    in_folder = len(list((photos / "00").iterdir()))
    assert len(rows) == in_folder
    assert said[0] == (
        f"note: {in_folder + 1} images were given more than once; each is named once, in its first "
        "place"
    )


def test_nothing_found_is_said(call, photos, tmp_path):
    rows, said = call(tmp_path, f"{tmp_path}/*.jpg", code=1)
    assert rows == []
    assert said == [
        f"error: '{tmp_path}' holds or matches no images",
        f"error: '{tmp_path}/*.jpg' holds or matches no images",
        "error: there are no images: expected files, folders, globs or a list of them",
    ]
    rows, said = call(tmp_path, photos / "00", "--top=1", code=1)
    assert len(rows) == len(list((photos / "00").iterdir()))
    assert said[0] == f"error: '{tmp_path}' holds or matches no images"


# ------------------------------------------------------------------------------------- what fails


def test_a_bad_file_is_a_line_and_the_others_are_named(call, photos, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8 no photo")
    good = [photo(photos), photo(photos, -1)]
    rows, said = call(
        good[0], tmp_path / "bad.jpg", tmp_path / "no.jpg", good[1], "--top=1", code=1
    )
    assert paths_of(rows) == good
    assert len(said) == 3
    assert said[1].startswith(f"error: cannot decode '{tmp_path}/bad.jpg' (11 bytes): ")
    assert said[2] == f"error: {tmp_path}/no.jpg: there is no such file"
    assert rows == call(*good, "--top=1")[0]


def test_control_characters_are_escaped(call, workdir, photos, tmp_path):
    shutil.copytree(workdir, tmp_path / "run")
    names = json.loads((workdir / "classes.json").read_text())
    names = [f"\x1b]0;{name}\x07\n" for name in names]
    (tmp_path / "run" / "classes.json").write_text(json.dumps(names))
    odd = tmp_path / os.fsdecode(b"a\tb\n\x1b[31m\xff\xc3\xbc.png")
    shutil.copy(photo(photos), odd)
    rows, _ = call(odd, "--top=1", where=tmp_path / "run")
    assert len(rows) == 1
    path, _, name = rows[0]
    assert path == rf"{tmp_path}/a\tb\n\x1b[31m\udcffü.png"
    assert name.startswith(r"\x1b]0;")
    assert name.endswith(r"\x07\n")


def test_no_run_is_one_line(call, photos, tmp_path):
    rows, said = call(photos, where=tmp_path / "nowhere", code=1)
    assert rows == []
    assert said == [
        f"error: {tmp_path}/nowhere/config.json is absent: expected the folder of a training run, "
        "as its --workdir was, or a file of python -m aftrans_jax.export --format=aftrans"
    ]


def broken_run(workdir, tmp_path, key, value):
    """A copy of the run whose configuration has another value."""
    shutil.copytree(workdir, tmp_path / "run")
    edit(tmp_path / "run", key, value)
    return tmp_path / "run"


UNSOUND = [
    ("sacm.selection", "all", "sacm.selection='all' is unknown: choose one of"),
    ("data.image_size", 33, "data.image_size=33 does not fit model.stride=8"),
    ("data.mean", [0.5], "data.mean="),
]


@pytest.mark.parametrize(("key", "value", "message"), UNSOUND)
def test_the_configuration_is_checked(call, workdir, photos, tmp_path, key, value, message):
    rows, said = call(photos, where=broken_run(workdir, tmp_path, key, value), code=1)
    assert rows == []
    assert len(said) == 1
    assert said[0].startswith(f"error: {message}")


def test_a_run_of_another_device_s_kernel_is_used_here(call, workdir, photos, tmp_path):
    where = broken_run(workdir, tmp_path, "model.attention", "splash")
    assert call(photos / "00", "--top=1", where=where)[0]


def test_a_precision_is_chosen(call, photos, tmp_path):
    found = {}
    for precision in (None, "float32", "bfloat16"):
        given = [f"--precision={precision}"] if precision else []
        call(photos / "00", f"--out={tmp_path}/p.jsonl", *given)
        lines = (tmp_path / "p.jsonl").read_text().splitlines()
        found[precision] = [json.loads(line)["heads"]["global"] for line in lines]
    assert found[None] == found["float32"] != found["bfloat16"]
    for (name, probability), (other, rounded) in zip(found[None], found["bfloat16"], strict=True):
        assert name == other
        assert probability == pytest.approx(rounded, abs=2**-6)  # some eight roundings of 2**-9
    assert "invalid choice: 'half'" in call(photos, "--precision=half", code=2)[1][-1]


@pytest.mark.parametrize("flag", ["--top=0", "--batch_size=0"])
def test_no_classes_to_print_and_no_batch_are_refused(call, photos, flag):
    assert f"{flag}: expected 1 or more" in call(photos, flag, code=2)[1][-1]


# --------------------------------------------------------------------------------- many of them


def test_memory_does_not_grow_with_the_images(tmp_path):
    """300 images of 0.75 MB as the model takes them, 225 MB in all."""
    Image.new("RGB", (500, 500), (9, 80, 7)).save(tmp_path / "0.png")
    for number in range(1, 300):
        os.link(tmp_path / "0.png", tmp_path / f"{number}.png")
    paths = [str(tmp_path / f"{number}.png") for number in range(300)]
    tracemalloc.start()
    try:
        load = functools.partial(prepare, sizes={"image_size": 500, "resize_size": 500})
        images = prepared(paths, load, ahead=2 * BATCH_SIZE)
        seen = [path for path, found in images if found.image.shape == (500, 500, 3)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seen == paths
    assert peak < (2 * BATCH_SIZE + 2 + 3 * 8) * 0.8e6


@pytest.mark.parametrize(
    ("num_photos", "given", "batch"),
    [
        *[(1, "", 1), (3, "", 4), (4, "", 4), (5, "", 8), (7, "", 8), (9, "", 16), (20, "", 16)],
        *[(20, "--batch_size=2", 2), (5, "--batch_size=6", 6), (20, "--batch_size=64", 32)],
    ],
)
def test_few_photos_are_filled_up_so_that_few_programs_are_compiled(
    call, photos, monkeypatch, num_photos, given, batch
):
    batches, compiled = [], classifier.Classifier

    def watched(*model, batch_size, **options):
        batches.append(batch_size)
        return compiled(*model, batch_size=batch_size, **options)

    monkeypatch.setattr(classifier, "Classifier", watched)
    paths = sorted(map(str, photos.rglob("*.png")))[:num_photos]
    rows, _ = call(*paths, "--top=1", *([given] if given else []))
    assert paths_of(rows) == paths
    assert batches == [batch]


def test_what_fills_a_batch_up_changes_no_answer_and_is_none(call, photos, monkeypatch):
    paths = sorted(map(str, photos.rglob("*.png")))[:5]
    expected, _ = call(*paths, "--logits=global")
    monkeypatch.setattr(classifier, "Classifier", Classifier)  # of batches as they are given
    assert call(*paths, "--logits=global")[0] == expected  # 8 of which 3 are empty
    assert call(*paths, "--logits=global", "--batch_size=3")[0] == expected  # 3, and 2 of 3


def test_three_hundred_images_are_named_in_order(call, photos, tmp_path):
    source = photo(photos)
    for number in range(300):
        shutil.copy(source, tmp_path / f"{number:03d}.png")
    (tmp_path / "150.png").write_bytes(b"")
    rows, said = call(tmp_path, "--top=1", code=1)
    assert [path[-7:-4] for path in paths_of(rows)] == [f"{i:03d}" for i in range(300) if i != 150]
    assert len({(probability, name) for _, probability, name in rows}) == 1
    assert len(said) == 2


# ----------------------------------------------------------------------------------------- export


def test_export_writes_the_trunk_where_it_is_told(workdir, tmp_path, monkeypatch, capsys):
    out = tmp_path / "named.npz"
    monkeypatch.setattr(sys, "argv", ["export", f"--workdir={workdir}", f"--out={out}"])
    with tiny_variants():
        export.main()
        assert capsys.readouterr() == (f"{out}\n", "")
        export.main()
    assert capsys.readouterr() == (f"{out}\n", f"note: the earlier {out} is replaced\n")
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    assert np.abs(read_npz(out)["head/kernel"]).max() > 0


@pytest.mark.parametrize(
    ("form", "name", "suffix"),
    [
        ("npz", "model.onnx", ".npz"),  # --format was forgotten
        ("aftrans", "photo.png", ".npz"),
        ("stablehlo", "x.npz", ".stablehlo"),
        ("onnx", "x", ".onnx"),
    ],
)
def test_export_writes_no_file_whose_name_is_of_another_kind(
    workdir, tmp_path, monkeypatch, capsys, form, name, suffix
):
    out = tmp_path / name
    given = [f"--workdir={workdir}", f"--format={form}", f"--out={out}"]
    monkeypatch.setattr(sys, "argv", ["export", *given])
    with tiny_variants(), pytest.raises(SystemExit):
        export.main()
    said = f"--out={out}: expected a name that ends in {suffix}\n"
    assert capsys.readouterr().err.endswith(said)
    assert not out.exists()


@pytest.mark.parametrize(("key", "value", "message"), UNSOUND)
def test_export_checks_the_configuration(
    workdir, tmp_path, monkeypatch, capsys, key, value, message
):
    where = broken_run(workdir, tmp_path, key, value)
    monkeypatch.setattr(sys, "argv", ["export", f"--workdir={where}"])
    with tiny_variants(), pytest.raises(SystemExit) as caught:
        export.main()
    status, text = ended(caught.value)
    assert (status, capsys.readouterr().err) == (1, "")
    assert text.startswith(f"error: {message}")
    assert not (where / "trunk.npz").exists()
