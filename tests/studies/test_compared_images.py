"""What the page of a table shows of test images, from made-up runs on the built-in birds."""

import json

import numpy as np
import pytest
from experiments import NUM_TEST, tiny_config, tiny_variants
from PIL import Image

from aftrans_jax.data.sets.synthetic import synthetic_dataset
from aftrans_jax.experiment.data import load_dataset
from aftrans_jax.report.gallery import PredictedClass
from aftrans_jax.studies import pictures
from aftrans_jax.studies.definition import Row, Study
from aftrans_jax.studies.finished_runs import TableRow, read_finished_run, table_rows
from aftrans_jax.studies.pictures import NUM_COMPARED, PHOTO_PX, compared_images, disagreements
from aftrans_jax.studies.plan import plan
from aftrans_jax.studies.study import run_study
from aftrans_jax.studies.table_files import write_study
from aftrans_jax.studies.tables import figures
from aftrans_jax.workdir.image_lists import record_lists
from aftrans_jax.workdir.predictions_csv import write_predictions
from aftrans_jax.workdir.record import read_settings

BIRDS = synthetic_dataset(num_train=24, num_test=NUM_TEST, image_size=32)
LABELS = np.array(BIRDS.test.labels)
BOXES = np.tile([4, 8, 20, 32], (NUM_TEST, 1)) + np.arange(NUM_TEST)[:, None] // 10


def rows_of(
    folder,
    row,
    heads=("global",),
    boxes=None,
    wrong=(),
    tested=NUM_TEST,
    dataset=BIRDS,
    **changes,
):
    """The table's rows of one run, which names the images at the places in `wrong` wrongly."""
    folder = folder / row
    folder.mkdir()
    config = tiny_config(**changes).to_dict()
    index = np.arange(tested)
    missed = np.isin(index, wrong)
    labels = np.array(dataset.test.labels)[:tested]
    outcomes = {
        "index": index,
        "label": labels,
        "predicted": {head: (labels + missed) % len(dataset.class_names) for head in heads},
        "confidence": {head: np.full(tested, 0.5) for head in heads},
    } | ({} if boxes is None else {"box": boxes[:tested]})
    write_predictions(folder / "predictions.csv", dataset, outcomes)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "classes.json").write_text(json.dumps(dataset.class_names))
    (folder / "result.json").write_text(
        json.dumps({"step": 6, "config": config, "num_classes": 12, "global_accuracy": 0.5})
    )
    return table_rows(row, heads, [read_finished_run(folder)])


def test_the_same_evenly_spaced_images_through_every_row(tmp_path):
    plain = rows_of(tmp_path, "ViT", model__name="vit", wrong=[0])
    ours = rows_of(tmp_path, "AFTrans", ("local", "sum"), BOXES, wrong=[19])
    found = compared_images([*plain, *ours])
    places = [0, 3, 5, 8, 11, 14, 16, 19]  # 19 / 7 apart, rounded
    assert len(places) == NUM_COMPARED
    assert [image.name for image in found] == [BIRDS.test.names[place] for place in places]
    for image, place in zip(found, places, strict=True):
        true = BIRDS.class_names[LABELS[place]]
        other = BIRDS.class_names[(LABELS[place] + 1) % 12]
        assert image.true == true
        assert (image.photo.width, image.photo.height) == (32, 32)
        top, left, bottom, right = BIRDS.test[place].box
        assert image.annotated == pytest.approx((left, top, right - left, bottom - top), abs=0.2)
        none, own = image.rows
        assert (none.series, none.setting, none.box) == (0, "ViT", None)
        named = other if place == 0 else true
        assert none.predictions == [PredictedClass("global", named, place != 0)]
        assert (own.series, own.setting) == (1, "AFTrans")
        shift = place // 10
        assert own.box == (8 + shift, 4 + shift, 24, 16)
        named, right = other if place == 19 else true, place != 19
        assert own.predictions == [PredictedClass(head, named, right) for head in ("local", "sum")]


def test_boxes_of_smaller_photos_and_of_central_crops_lie_where_they_were(tmp_path):
    """On a photo of 64 px.

    A box of the whole photo at 32 px is twice as large there. One of the central 32 px of 48 px
    begins 8 px further, and is then 64/48 as large.
    """
    sharp = rows_of(tmp_path, "sharp", boxes=np.tile([0, 0, 64, 64], (20, 1)), data__source_size=64)
    plain = rows_of(tmp_path, "plain", boxes=BOXES)
    central = rows_of(tmp_path, "central", boxes=BOXES, data__resize_ratio=1.5)
    first = compared_images([*plain, *central, *sharp])[0]
    plain_box, central_box, whole = (row.box for row in first.rows)
    assert first.photo.width == 64
    assert whole == (0, 0, 64, 64)
    assert plain_box == (16, 8, 48, 32)
    scale = 64 / 48
    expected = [scale * (8 + 8), scale * (4 + 8), scale * 24, scale * 16]
    assert central_box == pytest.approx(expected, abs=0.11)


def photos(folder, level=0):
    """Plants a photo in each class and split; returns the settings of the set."""
    for place in ("train/a", "train/b", "test/a", "test/b"):
        (folder / place).mkdir(parents=True)
        Image.new("RGB", (600, 150), (level,) * 3).save(folder / place / "x.png")
    return {"data__name": "folder", "data__dir": str(folder)}


def test_photos_keep_their_shape_and_boxes_their_place(tmp_path):
    """A model's square of 32 px, on a photo of 600 x 150 px that is shown at 448 x 112."""
    changes = photos(tmp_path / "photos")
    dataset, _ = load_dataset(tiny_config(**changes))
    own = rows_of(tmp_path, "AFTrans", boxes=BOXES, tested=2, dataset=dataset, **changes)
    first = compared_images(own)[0]
    assert (first.photo.width, first.photo.height) == (PHOTO_PX, 112)
    assert first.annotated is None
    top, left, bottom, right = BOXES[0] / 32  # of the model's square
    assert first.rows[0].box == (448 * left, 112 * top, 448 * (right - left), 112 * (bottom - top))


def test_a_finished_study_shows_photos_from_where_it_is_told_that_they_are(tmp_path):
    """The directories of its runs record where they were, and then where they are."""
    changes, said = photos(tmp_path / "here"), []
    dataset, _ = load_dataset(tiny_config(**changes))
    own = tmp_path / "out" / "a"
    own.mkdir(parents=True)
    rows_of(own, "seed0", boxes=BOXES, tested=2, dataset=dataset, **changes)
    record_lists(own / "seed0", dataset, is_resumed=False)

    def restarted(**changes):
        study, base = Study("t", {"a": Row(heads=("global",))}, "a"), tiny_config(**changes)
        with tiny_variants():
            return run_study(
                plan(study, base, tmp_path / "out", num_seeds=1, given=()),
                num_jobs=1,
                command=["false"],
                environment=None,
                write_table=lambda runs: write_study(study, tmp_path / "out", runs, ""),
                say=said.append,
            )

    failures, _ = restarted(**photos(tmp_path / "others", level=9))
    assert failures == ["a, seed 0"]
    assert "x.png' is another photo" in said[0]
    assert restarted(**changes | {"data__dir": str(tmp_path / "typo")})[0] == ["a, seed 0"]
    assert any("typo, which is not there: expected the data set" in line for line in said)
    (tmp_path / "here").rename(tmp_path / "there")
    assert restarted(**changes | {"data__dir": str(tmp_path / "there")}) == ([], 0)
    page = (tmp_path / "out" / "table.html").read_text()
    assert page.count('<image id="photo') == 2
    assert read_settings(own / "seed0")["data.dir"] == str(tmp_path / "there")


def test_images_that_all_have_tested_are_shown(tmp_path):
    found = compared_images(
        [*rows_of(tmp_path, "a", boxes=BOXES), *rows_of(tmp_path, "b", tested=3)]
    )
    assert [image.name for image in found] == list(BIRDS.test.names[:3])


def test_nothing_is_shown_without_boxes_or_images(tmp_path):
    plain = rows_of(tmp_path, "a")
    assert compared_images(plain) == []
    elsewhere = {"data__name": "folder", "data__dir": str(tmp_path / "absent")}
    boxed = rows_of(tmp_path, "b", boxes=BOXES, data__source_size=64, **elsewhere)
    assert compared_images([*plain, *boxed]) == []


def seeds(folder, row, wrong, tested=(NUM_TEST, NUM_TEST)):
    """The table's row of two runs."""
    single = [
        rows_of(folder, f"{row}{seed}", wrong=missed, tested=count, seed=seed, model__name="vit")[0]
        for seed, (missed, count) in enumerate(zip(wrong, tested, strict=True))
    ]
    return TableRow(row, "global", [one.runs[0] for one in single])


def groups(ours, base):
    with tiny_variants():
        return disagreements(figures([ours], base), base)


def test_an_image_is_said_by_the_runs_that_tested_it(tmp_path):
    """Seed 1 of the base is not paired, and has tested other images."""
    ours = rows_of(tmp_path, "a", model__name="vit")[0]
    base = seeds(tmp_path, "b", wrong=([5], []), tested=(NUM_TEST, 3))
    (group,), _ = groups(ours, base)
    (card,) = group.cards
    assert group.title == f"a (global) right, b (global) wrong (1 of {NUM_TEST})"
    true, other = (BIRDS.class_names[(LABELS[5] + missed) % 12] for missed in (0, 1))
    assert card.name == BIRDS.test.names[5]
    assert card.predictions == [("true", true), ("a (global)", true), ("b (global)", other)]


def test_of_several_seeds_one_row_is_right_more_often(tmp_path):
    """Seed 0 of both has image 5 wrong: the base is wrong of it twice, the other once."""
    ours = seeds(tmp_path, "a", wrong=([5], []))
    base = seeds(tmp_path, "b", wrong=([5], [5]))
    (group,), _ = groups(ours, base)
    assert group.title == f"a (global) right more often than b (global) (1 of {NUM_TEST})"
    assert [card.name for card in group.cards] == [BIRDS.test.names[5]]


def test_images_on_which_most_seeds_agree_come_first_whichever_row_is_right(tmp_path):
    first = seeds(tmp_path, "a", wrong=([3, 9], [9]))
    second = seeds(tmp_path, "b", wrong=([4, 12], [12]))
    for one, other in ((first, second), (second, first)):
        shown = [[card.name for card in group.cards] for group in groups(one, other)[0]]
        ours, theirs = ([BIRDS.test.names[n] for n in places] for places in ((12, 4), (9, 3)))
        assert shown == ([ours, theirs] if one is first else [theirs, ours])


def test_the_names_of_a_split_are_read_once(tmp_path, monkeypatch):
    ours, base = (rows_of(tmp_path, row, wrong=x)[0] for row, x in (("a", []), ("b", [1, 2, 3])))
    read = []

    class Names(tuple):
        def __iter__(self):
            read.append(self)
            return super().__iter__()

    test = synthetic_dataset(num_train=24, num_test=NUM_TEST, image_size=32).test
    test.names = Names(test.names)
    dataset = BIRDS._replace(test=test)
    monkeypatch.setattr(pictures, "load_dataset", lambda *_: (dataset, None))
    (group,), _ = groups(ours, base)
    assert (len(group.cards), len(read)) == (3, 1)


def test_an_image_that_is_gone_is_named(tmp_path, monkeypatch):
    ours, base = (rows_of(tmp_path, row, wrong=x)[0] for row, x in (("a", []), ("b", [7])))
    fewer = synthetic_dataset(num_train=24, num_test=3, image_size=32)
    monkeypatch.setattr(pictures, "load_dataset", lambda *_: (fewer, None))
    none, why = groups(ours, base)
    assert none == []
    assert f"{BIRDS.test.names[7]!r} was tested and is not" in why
