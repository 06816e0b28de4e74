"""The table from made-up runs whose outcomes are known."""

import csv
import io
import json
import shutil
import sys
from unittest import mock

import numpy as np
import pytest
from experiments import tiny_config, tiny_variants

from aftrans_jax import compare
from aftrans_jax.data.examples import Dataset
from aftrans_jax.json_files import DamagedRecordError
from aftrans_jax.report.plots import curves, dots, scatter
from aftrans_jax.studies import table_files
from aftrans_jax.studies.comparison import changed, rows_between
from aftrans_jax.studies.definition import Row, Study
from aftrans_jax.studies.finished_runs import (
    paired,
    read_annotated_run,
    read_finished_run,
    table_rows,
)
from aftrans_jax.studies.plan import plan
from aftrans_jax.studies.table_files import layer_plots, plots, write_study
from aftrans_jax.studies.tables import cells, comma_separated, figures, header, markdown
from aftrans_jax.workdir.predictions_csv import read_predictions, write_predictions

CLASSES = ("one, two", "x\udcff")


def test_annotated_boxes_are_judged_by_the_logits_that_auto_means(tmp_path):
    heads = dict.fromkeys(("global", "local", "sum"), (1, 0, 1, 0))
    run = make_run(tmp_path / "run", heads)
    assert json.loads((run / "config.json").read_text())["eval"]["logits"] == "auto"
    shutil.copy(run / "result.json", run / "eval-test-annotated.json")
    shutil.copy(run / "predictions.csv", run / "eval-test-annotated.predictions.csv")
    row = Row({"region.method": "annotated"}, evaluates="run")
    study = Study("s", {"run": Row(), "boxes": row}, "run")
    *_, boxes = plan(study, tiny_config(), tmp_path, num_seeds=1, given=())
    (line,) = table_rows("boxes", boxes.heads, [read_annotated_run(run)])
    assert (line.head, line.runs[0].settings["region.method"]) == ("local", "annotated")


def test_settings_are_those_that_the_scores_are_of(tmp_path):
    """A longer training that has begun since has rewritten config.json."""
    heads = dict.fromkeys(("global", "local", "sum"), (1, 0, 1, 0))
    run = make_run(tmp_path / "run", heads)
    shutil.copy(run / "result.json", run / "eval-test-annotated.json")
    shutil.copy(run / "predictions.csv", run / "eval-test-annotated.predictions.csv")
    config = json.loads((run / "config.json").read_text())
    config["train"]["steps"], config["data"]["dir"] = 5000, "moved"
    (run / "config.json").write_text(json.dumps(config))
    for read in (read_finished_run(run), read_annotated_run(run)):
        found = [read.settings[key] for key in ("train.steps", "data.dir")]
        assert found == [6, "moved"]  # where the photos lie now
    (run / "config.json").unlink()  # as a probe leaves none
    assert read_finished_run(run).settings["data.dir"] == ""


def test_what_a_run_would_report_does_not_tell_runs_apart_that_are_judged_by_given_logits(tmp_path):
    heads = dict.fromkeys(("global", "local", "sum"), (1, 0, 1, 0))
    runs = [
        make_run(tmp_path / name, heads, seed=seed, eval__logits=name)
        for seed, name in enumerate(("sum", "local", "global"))
    ]
    assert len(rows_between(runs, [])) == 3
    (line,) = rows_between(runs, ["sum"])
    assert (line.head, [run.seed for run in line.runs]) == ("sum", [0, 1, 2])


def test_rows_are_judged_as_the_study_says_whatever_runs_record(tmp_path):
    """A finished run's record is of the command that finished it, which may have said otherwise."""
    study = Study("s", {"a": Row(), "b": Row({"sacm.keep_ratio": 0.5})}, "a")
    base = tiny_config(eval__logits="sum")
    runs = plan(study, base, tmp_path, num_seeds=1, given=())
    both = dict.fromkeys(("global", "local", "sum"), (1, 0, 1, 0))
    for run, logits in zip(runs, ("global", "auto"), strict=True):
        make_run(run.workdir, both, eval__logits=logits)
    with tiny_variants():
        write_study(study, tmp_path, runs, "the command")
    rows = csv.DictReader((tmp_path / "table.csv").read_text().splitlines())
    assert [(row["row"], row["judged_by"]) for row in rows] == [("a", "sum"), ("b", "sum")]


class Names:
    """Four images without pixels."""

    names = ("a.jpg", "b.jpg", "c,\udcff.jpg", "d.jpg")
    labels = (0, 1, 0, 1)

    def __len__(self):
        return 4

    def __getitem__(self, index):
        raise NotImplementedError


def make_run(folder, right, seed=0, order=(0, 1, 2, 3), boxes=None, **changes):
    """A finished run; `right` says by logits which of the images are named right."""
    folder.mkdir(parents=True)
    name = "aftrans" if "local" in right or "sum" in right else "vit"
    config = tiny_config(seed=seed, model__name=name, **changes).to_dict()
    labels = np.array(Names.labels)[list(order)]
    hits = {head: np.array(rows, bool)[list(order)] for head, rows in right.items()}
    outcomes = {
        "index": np.array(order),
        "label": labels,
        "predicted": {head: np.where(rows, labels, 1 - labels) for head, rows in hits.items()},
        "confidence": {head: np.full(4, 0.75) for head in hits},
    }
    if boxes is not None:
        outcomes["box"] = np.array(boxes, np.int32)[list(order)]
    dataset = Dataset("made up", Names(), Names(), CLASSES)
    write_predictions(folder / "predictions.csv", dataset, outcomes)
    result = {f"{head}_accuracy": float(np.mean(rows)) for head, rows in right.items()}
    result |= {"step": 6, "num_classes": 2, "images_per_second": 10.0 + seed, "config": config}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def test_predictions_are_read_as_they_were_written(tmp_path):
    folder = make_run(tmp_path / "a", {"global": (1, 0, 1, 1), "sum": (0, 0, 0, 1)})
    found = read_predictions(folder / "predictions.csv")
    assert found.names == Names.names
    assert found.true == tuple(CLASSES[label] for label in Names.labels)
    assert found.correct("global").tolist() == [True, False, True, True]
    assert found.predicted["sum"][0] == CLASSES[1]
    assert found.confidence["sum"].tolist() == [0.75] * 4
    assert found.boxes is None
    (folder / "predictions.csv").write_text("name,true,sum\na,b,c\n")
    with pytest.raises(DamagedRecordError, match=r"of a run\. Bring it back from a copy"):
        read_predictions(folder / "predictions.csv")
    (folder / "checkpoints" / "6").mkdir(parents=True)
    end = rf"expected the predictions of a run\. Move result\.json .* --workdir={folder}, which"
    with pytest.raises(DamagedRecordError, match=end):
        read_predictions(folder / "predictions.csv")
    (folder / "eval-a.predictions.csv").write_text("name")
    with pytest.raises(DamagedRecordError, match=rf"Run .* --workdir={folder} --mode=eval again"):
        read_predictions(folder / "eval-a.predictions.csv")


def test_images_of_one_name_are_refused(tmp_path):
    folder = make_run(tmp_path / "a", {"global": (1, 0, 1, 1)})
    path = folder / "predictions.csv"
    path.write_bytes(path.read_bytes().replace(b"b.jpg", b"a.jpg"))
    with pytest.raises(DamagedRecordError, match=r"several images of one name, .* 'a\.jpg'"):
        read_finished_run(folder)


def test_boxes_are_read_as_they_were_written_and_unknown_in_older_files(tmp_path):
    boxes = [[0, 16, 32, 32], [8, 0, 24, 32], [0, 0, 32, 32], [16, 8, 24, 16]]
    folder = make_run(tmp_path / "a", {"global": (1, 0, 1, 1)}, order=(2, 0, 1, 3), boxes=boxes)
    path = folder / "predictions.csv"
    found = read_predictions(path)
    assert found.boxes.tolist() == [boxes[place] for place in (2, 0, 1, 3)]
    rows = list(csv.reader(path.read_text("utf-8", "surrogateescape").splitlines()))
    assert rows[0] == [
        *("name", "true", "global", "global_confidence", "top", "left", "bottom", "right")
    ]
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        csv.writer(file).writerows(row[:-4] for row in rows)
    older = read_predictions(path)
    assert older.boxes is None
    assert older.predicted == found.predicted
    rows[2][-1] = ""  # a single edge is missing
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(DamagedRecordError, match="expected the predictions of a run"):
        read_predictions(path)


def test_pairs_are_by_seed_and_image_whatever_the_order(tmp_path):
    ours = [
        make_run(tmp_path / "a1", {"global": (1, 1, 0, 0)}, seed=1, order=(3, 1, 0, 2)),
        make_run(tmp_path / "a2", {"global": (1, 0, 0, 0)}, seed=2),
    ]
    base = [make_run(tmp_path / "b2", {"global": (0, 0, 0, 1)}, seed=2, order=(2, 0, 1, 3))]
    line, other = (
        table_rows(name, ("global",), [read_finished_run(path) for path in paths])[0]
        for name, paths in (("a", ours), ("b", base))
    )
    found = paired(line, other)
    assert tuple(found.names) == Names.names
    assert found.ours.tolist() == [[True, False, False, False]]
    assert found.base.tolist() == [[False, False, False, True]]


def test_runs_of_other_seeds_are_paired_in_their_order(tmp_path):
    right = {1: (1, 1, 0, 0), 2: (1, 0, 0, 0), 3: (0, 0, 0, 1), 4: (0, 1, 1, 0)}
    runs = [
        read_finished_run(make_run(tmp_path / str(seed), {"global": hits}, seed=seed))
        for seed, hits in right.items()
    ]
    line, other = (table_rows("a", ("global",), part)[0] for part in (runs[:2], runs[2:]))
    found = paired(line, other)
    np.testing.assert_array_equal(found.ours, [right[1], right[2]])
    np.testing.assert_array_equal(found.base, [right[3], right[4]])
    assert found.part == ""


def test_a_figure_is_the_mean_over_the_runs_that_have_it(tmp_path):
    runs = [make_run(tmp_path / f"{k}", {"global": (1, 1, 0, 0)}, seed=k) for k in (0, 1, 3)]
    path = runs[1] / "result.json"  # as of a run that resumed after its last step
    result = json.loads(path.read_text())
    path.write_text(json.dumps(result | {"images_per_second": None}))
    (line,) = table_rows("a", ("global",), [read_finished_run(run) for run in runs])
    assert line.mean("images_per_second") == 11.5  # of 10 and 13
    assert line.mean("mfu") is None


def test_a_difference_of_some_seeds_or_images_says_so(tmp_path):
    """The means of both lines are of more, and may differ the other way."""
    right = {"global": (1, 1, 1, 0)}
    ours = [make_run(tmp_path / f"a{k}", right, seed=k) for k in (0, 1, 2)]
    base = [make_run(tmp_path / "b0", right, seed=0)]
    few = [make_run(tmp_path / f"c{k}", right, seed=k, order=(0, 1, 2)) for k in (0, 1, 2)]
    every, one, part = (
        table_rows(name, ("global",), [read_finished_run(path) for path in paths])[0]
        for name, paths in (("a", ours), ("b", base), ("c", few))
    )
    assert paired(every, every).part == ""
    with tiny_variants():
        table = figures([every, one, part], one)
    first, _, last = cells(table)
    assert first[4].endswith("of 1 seed)")
    assert last[4].endswith("of 1 seed and 3 images)")
    assert next(iter(cells([figures([one], every)[0]])))[4].endswith("of 1 seed)")  # of either line
    assert [row["paired_seeds"] for row in csv.DictReader(io.StringIO(comma_separated(table)))] == [
        *("1", "", "1")
    ]
    labels = [dot.label for dot in plots(table)[1].dots]
    assert labels == ["a (global), of 1 seed: +0.0", "c (global), of 1 seed and 3 images: +0.0"]


def test_the_table_says_what_the_runs_say(tmp_path):
    both = {"global": (1, 1, 0, 0), "local": (1, 1, 1, 1)}
    runs = [make_run(tmp_path / f"a{seed}", both, seed=seed) for seed in (0, 1)]
    runs[1].joinpath("result.json").write_text(
        runs[1]
        .joinpath("result.json")
        .read_text()
        .replace('"global_accuracy": 0.5', '"global_accuracy": 1.0')
    )
    heads, paper = ("global", "local"), {"local": 90.6}
    lines = table_rows("a|b", heads, [read_finished_run(path) for path in runs], paper)
    with tiny_variants():
        table = figures(lines, lines[0])
    assert header(table)[:6] == [
        "row",
        "judged by",
        "seeds",
        "global",
        "local",
        "difference (95 %)",
    ]
    assert header(table)[6:] == ["images", "GFLOP an image", "images/s", "paper"]
    first, second = cells(table)
    assert first[:6] == ["a|b", "global", "2", "75.0 ± 35.4", "100.0 ± 0.0", "\N{EN DASH}"]
    assert second[1] == "local"
    assert second[5] == "+50.0 (2 images differ)"
    assert second[-1] == "90.6"
    assert first[-4:] == ["4", f"{table[0].gflop:.3g}", "10.5", "\N{EN DASH}"]
    assert 0 < table[0].gflop < table[1].gflop  # the global logits need no second pass
    text = markdown("T", table, lines[0], "the command")
    assert "| a\\|b | local | 2 |" in text
    assert "    the command" in text
    rows = list(csv.DictReader(comma_separated(table).splitlines()))
    assert float(rows[0]["test_global_std"]) == pytest.approx(35.3553)
    assert rows[1]["difference"] == "50.0"
    assert [rows[1][f"difference_{end}"] for end in ("low", "high")] == ["", ""]
    assert rows[1]["differing_images"] == "2"
    assert "fewer than 10" in text
    with mock.patch.object(table_files, "scatter", wraps=scatter) as priced:
        (drawn,) = plots(table)[1].dots
    assert priced.call_args.args[2] == [(0, table[0].gflop, 75), (1, table[1].gflop, 100)]
    assert drawn.low == drawn.at == drawn.high  # no whisker
    assert rows[0]["difference"] == ""


def test_a_row_s_runs_are_in_the_order_of_their_seeds_whatever_was_finished_first(tmp_path):
    study = Study("s", {"a": Row(heads=("global",))}, "a")
    runs = plan(study, tiny_config(), tmp_path, num_seeds=3, given=())
    for run, hits in zip(runs, [(1, 0, 0, 0), (1, 1, 0, 0), (1, 1, 1, 0)], strict=True):
        make_run(run.workdir, {"global": hits, "local": hits, "sum": hits}, run.seed)
    with tiny_variants():
        write_study(study, tmp_path, [runs[2], runs[0], runs[1]], "")
    (row,) = csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text()))
    assert row["seeds"] == "0 1 2"


def test_accuracies_and_curves_are_drawn_in_percent(tmp_path):
    """25 % and 75 % have the mean 50, the deviation 35.4; curves have 0.5, 1 at steps 1 and 3."""
    lines = []
    for name, method in (("a", "largest_component"), ("boxes", "annotated")):
        runs = [
            make_run(tmp_path / f"{name}{seed}", {"global": hits}, seed)
            for seed, hits in enumerate([(1, 0, 0, 0), (1, 1, 1, 0)])
        ]
        records = [
            {"split": "train", "step": step, "loss": 2.0, "accuracy": share}
            for step, share in ((1, 0.5), (3, 1.0))
        ]
        text = "\n".join(map(json.dumps, records))
        (runs[0] / "metrics.jsonl").write_text(text + "\n")
        runs = [read_finished_run(run) for run in runs]
        own = [x._replace(settings={**x.settings, "region.method": method}) for x in runs]
        lines += table_rows(name, ("global",), own)
    patch = mock.patch.object
    with (
        tiny_variants(),
        patch(table_files, "dots", wraps=dots) as drawn,
        patch(table_files, "curves", wraps=curves) as curved,
    ):
        plots(figures(lines, None))
    measured = drawn.call_args_list[0].args[2][0]
    deviation = 50 / 2**0.5
    ends = (50, 50 - deviation, 50 + deviation)
    assert measured[2:5] == pytest.approx(ends)
    assert measured[5] == pytest.approx([25, 75])
    titles = [call.args[0] for call in curved.call_args_list]
    assert titles == ["Training loss, seed 0", "Training accuracy in %, seed 0"]
    # A row by the annotated boxes has no training of its own.
    ((series, (steps, values)),) = curved.call_args_list[1].args[1].items()
    assert (series, steps.tolist(), values.tolist()) == (0, [1, 3], [50, 100])


def test_gates_are_drawn_as_means_over_seeds(tmp_path):
    runs = [make_run(tmp_path / f"a{seed}", {"global": (1, 1, 0, 0)}, seed) for seed in (0, 1)]
    for run, gates in zip(runs, ([0.2, 0.0], [0.6, 0.0]), strict=True):
        result = json.loads((run / "result.json").read_text())
        (run / "result.json").write_text(json.dumps(result | {"gate_mean": gates}))
    other = make_run(tmp_path / "b", {"global": (1, 1, 0, 0)})  # does not tell them
    lines = [
        line
        for name, paths in (("b", [other]), ("a", runs))
        for line in table_rows(name, ("global",), [read_finished_run(path) for path in paths])
    ]
    with tiny_variants():
        found = plots(figures(lines, lines[0]))
    (gates,) = (plot for plot in found if "gate" in plot.title)
    # A gate of 0 is not fused: one layer is left, in the middle; 0.4 of 168 px above 190 px.
    assert gates.points == [(1, 280, 122.8)]


@pytest.mark.parametrize(
    ("seed", "title"), [(0, "Training loss, seed 0"), (3, "Training loss, each row's first run")]
)
def test_the_seed_of_curves_is_said_where_all_rows_share_it(tmp_path, seed, title):
    lines = []
    for name, own in (("a", 0), ("b", seed)):
        run = make_run(tmp_path / name, {"global": (1, 1, 0, 0)}, own)
        (run / "metrics.jsonl").write_text('{"split": "train", "step": 1, "loss": 2.0}\n')
        lines += table_rows(name, ("global",), [read_finished_run(run)])
    with tiny_variants():
        *_, loss = plots(figures(lines, lines[0]))
    assert loss.title == title


def test_accuracy_is_drawn_by_layer_where_rows_read_one(tmp_path):
    right = {"a": (1, 0, 0, 0), "b": (1, 1, 0, 0), "c": (1, 1, 1, 1)}
    layers = {"a": (), "b": (2,), "c": (1,)}
    lines = []
    for name, hits in right.items():
        run = make_run(tmp_path / name, {"global": hits}, sacm__layers=layers[name])
        lines += table_rows(name, ("global",), [read_finished_run(run)])
    with tiny_variants():
        (shown, *more) = layer_plots(figures(lines, lines[0]))
        assert layer_plots(figures(lines[:2], lines[0])) == []
    assert more == []
    # 20..100 % on 190..22 px; two layers, 228 px each.
    assert shown.points == [(1, 394, 127), (2, 166, 22)]
    assert shown.curves[2] == (0, [(52, 179.5), (508, 179.5)])


def test_compared_runs_share_a_line_where_seeds_alone_differ(tmp_path):
    right = {"global": (1, 1, 0, 0)}
    runs = [make_run(tmp_path / "r" / f"{seed}", right, seed=seed) for seed in (0, 1)]
    other = make_run(tmp_path / "other", right, sacm__keep_ratio=0.4)
    lines = rows_between([*runs, other, runs[0]], [])
    assert [(line.setting, len(line.runs)) for line in lines] == [
        ("r", 2),
        ("other", 1),
    ]
    assert changed(lines)[1:] == [["sacm.keep_ratio", "0.2", "0.4"]]
    result = json.loads((other / "result.json").read_text()) | {"num_classes": 3}
    (other / "result.json").write_text(json.dumps(result))
    assert changed(rows_between([*runs, other], []))[1] == ["classes", "2", "3"]
    line, _ = rows_between([runs[1], other, runs[0]], [])
    assert [run.seed for run in line.runs] == [0, 1]
    beside = [
        make_run(tmp_path / "r" / f"4{seed}", right, seed=seed, sacm__keep_ratio=0.4)
        for seed in (0, 1)
    ]
    lines = rows_between([*runs, *beside, other], [])
    assert [line.setting for line in lines] == ["r/0, r/1", "r/40, r/41", "other"]
    by_name = make_run(tmp_path / "r" / "2", right, seed=2, eval__logits="global")  # as auto means
    assert [len(line.runs) for line in rows_between([*runs, by_name, other], [])] == [3, 1]
    with pytest.raises(ValueError, match="two or more finished runs"):
        rows_between([other, other], [])
    with pytest.raises(FileNotFoundError, match="holds no run: expected the directory of a"):
        rows_between([other, tmp_path], [])
    (tmp_path / "config.json").touch()
    with pytest.raises(FileNotFoundError, match=r"holds no finished run.* Finish it: python"):
        rows_between([other, tmp_path], [])
    (tmp_path / "a.npz").touch()
    with pytest.raises(NotADirectoryError, match=r"a\.npz is a file: expected the directory of a"):
        rows_between([other, tmp_path / "a.npz"], [])
    (other / "predictions.csv").unlink()
    with pytest.raises(FileNotFoundError, match="of an earlier version"):
        rows_between([*runs, other], [])


def test_seeds_that_tell_lines_apart_are_among_what_was_changed(tmp_path):
    right = {"global": (1, 1, 0, 0)}
    one = make_run(tmp_path / "a", right, seed=3)
    other = make_run(tmp_path / "b", right, seed=5, sacm__keep_ratio=0.4)
    header, *rows = changed(rows_between([one, other], []))
    assert header == ["key", "a", "b"]
    assert sorted(rows) == [["sacm.keep_ratio", "0.2", "0.4"], ["seed", "3", "5"]]


def test_columns_hold_what_they_are_called(tmp_path, rng):
    """Forty images, of which one setting has more right; the ends by draws of its own."""
    base_right = rng.random(40) < 0.5
    ours_right = base_right | (rng.random(40) < 0.8)
    gains = ours_right.astype(int) - base_right
    draws = 100 * rng.choice(gains, (4000, 40)).mean(axis=1)
    right = {"a": ours_right, "b": base_right}
    lines = []
    for name, hits in right.items():
        run = make_run(tmp_path / name, {"global": (1, 1, 0, 0)})
        rows = [f"{n}.jpg,x,{'x' if hit else 'y'},0.5,,,," for n, hit in enumerate(hits)]
        header = "name,true,global,global_confidence,top,left,bottom,right"
        (run / "predictions.csv").write_text("\n".join([header, *rows, ""]))
        result = json.loads((run / "result.json").read_text())
        more = {"global_accuracy": float(hits.mean()), "validation": {"global_accuracy": 0.125}}
        (run / "result.json").write_text(json.dumps(result | more))
        lines += table_rows(name, ("global",), [read_finished_run(run)], paper=90.5)
    with tiny_variants():
        table = figures(lines, lines[1])
    row, _ = csv.DictReader(io.StringIO(comma_separated(table)))
    assert (row["row"], row["judged_by"], row["test_global_std"]) == ("a", "global", "")
    found = {name: float(text) for name, text in row.items() if text[:1].isdigit()}
    ends = [found.pop(f"difference_{end}") for end in ("low", "high")]
    assert ends == pytest.approx(np.quantile(draws, (0.025, 0.975)), abs=3)
    assert 0 < found.pop("gflop_an_image") < 1
    assert found == pytest.approx(
        {
            "seeds": 0,
            "test_global_mean": 100 * ours_right.mean(),
            "validation_global_mean": 12.5,
            "difference": 100 * gains.mean(),
            "differing_images": abs(gains).sum(),
            "paired_seeds": 1,
            "paired_images": 40,
            "images": 40,
            "images_per_second": 10,
            "paper": 90.5,
        }
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "No setting was changed, seeds aside."),
        ({"seed": 1}, "No setting was changed, seeds aside."),
        ({"sacm__keep_ratio": 0.4}, "| sacm.keep_ratio | 0.2 | 0.4 |"),
    ],
)
def test_runs_that_differ_in_nothing_are_said_to(tmp_path, monkeypatch, capsys, change, said):
    right = {"global": (1, 1, 0, 0)}
    runs = [make_run(tmp_path / "a", right), make_run(tmp_path / "b", right, **change)]
    monkeypatch.setattr(sys, "argv", ["compare", *map(str, runs), f"--workdir={tmp_path / 'out'}"])
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # which the command sets, too
    with tiny_variants():
        compare.main()
    printed, page = capsys.readouterr().out, (tmp_path / "out" / "table.html").read_text()
    assert "# Comparison of 2 runs" in printed
    assert said in printed
    changes = said.startswith("|")
    assert ("What was changed" in printed) == ("What was changed" in page) == changes
    assert changes or f"<p>{said}</p>" in page


def test_the_comparison_is_printed_in_any_encoding(tmp_path, monkeypatch):
    runs = [make_run(tmp_path / name, {"global": (1, 1, 0, 0)}) for name in "ab"]
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "argv", ["compare", *map(str, runs), f"--workdir={tmp_path / 'out'}"])
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # which the command sets, too
    with tiny_variants():
        compare.main()
    stream.seek(0)
    said = stream.read()
    assert "| a | global | 1 | 50.0 | \\u2013 |" in said  # an en dash: the base itself
    assert said.splitlines()[-1] == f"page: {tmp_path / 'out' / 'table.html'}"
