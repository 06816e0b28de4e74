"""`predict --out` and `--report`: the table and the page, of ordinary and of odd photos."""

import csv
import errno
import html
import json
import os
import re
import shutil

import numpy as np
import pytest
from browser import in_browser, require_browser
from experiments import tiny_variants
from PIL import Image
from predicting import predicting

from aftrans_jax.inference import classifier
from aftrans_jax.inference.classifier import Classifier
from aftrans_jax.inference.prediction import Prediction
from aftrans_jax.inference.prediction_page import PredictionPage
from aftrans_jax.inference.prediction_table import prediction_table
from aftrans_jax.report.photos import Rectangle

HEADS = ("global", "local", "sum")


@pytest.fixture
def call(trained_run, monkeypatch, capsys):
    return predicting(trained_run, monkeypatch, capsys)


def read_csv(path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def read_jsonl(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def some(photos, count=5) -> list[str]:
    return [str(path) for path in sorted(photos.rglob("*.png"))[:count]]


# ------------------------------------------------------------------------------------- the table


def test_both_tables_say_what_the_library_says(call, trained_run, photos, tmp_path):
    from aftrans_jax import load

    with tiny_variants():
        expected = load(trained_run)(some(photos))
    out, said = call(*some(photos), f"--out={tmp_path}/new/p.csv", "--top=2")
    assert out == [f"table of 5 images: {tmp_path}/new/p.csv"]
    assert len(said) == 1
    assert said[0].startswith("sum of global and local logits: ")
    call(*some(photos), f"--out={tmp_path}/p.JSONL", "--top=2")
    rows, lines = read_csv(tmp_path / "new" / "p.csv"), read_jsonl(tmp_path / "p.JSONL")
    for row, line, found in zip(rows, lines, expected, strict=True):
        assert row["file"] == line["file"] == found.photo
        assert row["answer"] == line["answer"] == found.answer
        assert [row["class_1"], row["class_2"]] == [name for name, _ in found.top(2)]
        assert [name for name, _ in line["top"]] == [name for name, _ in found.top(2)]
        for head in HEADS:
            assert row[head] == line["heads"][head][0] == found.answers[head][0]
            probability = float(row[f"{head}_probability"])
            assert (
                probability
                == line["heads"][head][1]
                == pytest.approx(found.answers[head][1], abs=2e-6)
            )
        assert tuple(int(row[edge]) for edge in line["box"]) == found.box
        assert tuple(line["box"].values()) == found.box
        assert (
            (int(row["height"]), int(row["width"])) == (line["height"], line["width"]) == (32, 32)
        )
        assert row["error"] == ""
        assert set(row) == {
            *("file", "answer", "probability", "class_1", "probability_1", "class_2"),
            *("probability_2", "top", "left", "bottom", "right", "height", "width", "error"),
            *(f"{head}{end}" for head in HEADS for end in ("", "_probability")),
        }


def test_unreadable_photos_have_their_row_and_the_others_theirs(call, photos, tmp_path):
    (folder := tmp_path / "photos").mkdir()
    for number, path in enumerate(some(photos, 20)):
        shutil.copy(path, folder / f"{number:02d}.png")
    for number in (0, 7, 16):
        (folder / f"{number:02d}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for name in ("p.csv", "p.jsonl"):
        out, said = call(folder, f"--out={tmp_path / name}", code=1)
        assert out == [f"table of 20 images: {tmp_path / name}"]
        assert len(said) == 4
        rows = (read_csv if name == "p.csv" else read_jsonl)(tmp_path / name)
        assert [row["file"][-6:-4] for row in rows] == [f"{n:02d}" for n in range(20)]
        failed = [n for n, row in enumerate(rows) if row.get("error")]
        assert failed == [0, 7, 16]
        assert "cannot decode" in rows[7]["error"]


ODD = [b"a,b.png", b'q"q.png', b"line\nend.png", b"line\rend.png", b"tab\t.png", b"\xff\xfe.png"]
ODD += ["zoë ünï 日本.png".encode(), b"back\\slash.png", b"\\udcff.png"]


def test_odd_names_are_read_again(call, photos, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in ODD:
        shutil.copy(some(photos, 1)[0], os.fsencode(folder) + b"/" + name)
    call(folder, f"--out={tmp_path}/p.jsonl")
    call(folder, f"--out={tmp_path}/p.csv", f"--report={tmp_path}/p.html")
    files = [os.fsencode(row["file"]) for row in read_jsonl(tmp_path / "p.jsonl")]
    assert files == sorted(os.fsencode(folder) + b"/" + name for name in ODD)
    rows = {os.path.basename(row["file"]) for row in read_csv(tmp_path / "p.csv")}
    assert rows == {
        name.decode(errors="surrogateescape").encode(errors="backslashreplace").decode()
        for name in ODD
    }
    # By which Excel knows that names are UTF-8.
    assert (tmp_path / "p.csv").read_bytes().startswith(b'\xef\xbb\xbf"file"')
    (tmp_path / "p.html").read_text(encoding="utf-8")


def test_a_spreadsheet_finds_no_formula(call, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [
        "=cmd.png",
        "+1.png",
        "@SUM(1).png",
        "\t=1.png",
        "plain.png",
        "\N{FULLWIDTH EQUALS SIGN}1.png",
    ]
    for name in names:
        shutil.copy(some(photos, 1)[0], name)
    (tmp_path / "=bad.png").write_bytes(b"")
    call(*names, "=bad.png", "--out=p.csv", code=1)
    files = [row["file"] for row in read_csv(tmp_path / "p.csv")]
    assert files == [name if name == "plain.png" else f"./{name}" for name in [*names, "=bad.png"]]
    assert all(os.path.exists(file) for file in files)
    formula = "=HYPERLINK()"
    probabilities = {head: np.float32([0.75, 0.25]) for head in HEADS}
    whole, box = (0, 0, 9, 9), (1, 2, 3, 9)
    found = Prediction("a", "sum", (formula, "b"), probabilities, 9, 9, whole, box, *[None] * 3)
    with prediction_table(tmp_path / "t.csv", heads=HEADS, top=2) as add:
        add("a", found)
        add("b", ValueError(formula))
    said, unread = read_csv(tmp_path / "t.csv")
    names = [said[column] for column in ("answer", "class_1", "class_2", *HEADS)]
    assert names == [f"'{formula}", f"'{formula}", "b", *[f"'{formula}"] * len(HEADS)]
    assert (said["probability"], said["right"]) == ("0.75", "9")
    assert unread["error"] == f"'{formula}"


def test_a_row_has_every_value_in_its_column_and_no_formula(tmp_path):
    """Compared with rows by hand, where an interrupted run left a longer file."""
    (tmp_path / "P.CSV.partial").write_text("left over," * 999)
    names, probabilities = ("=1+1", "gull", "@tern"), [[0.25, 0.625, 0.125], [0.5, 0.125, 0.375]]
    probabilities = {
        head: np.array(values, np.float32)
        for head, values in zip(("global", "sum"), probabilities, strict=True)
    }
    size = {"height": 30, "width": 40, "seen": (0, 0, 30, 40)}
    rest = dict.fromkeys(("relevance", "gates", "crop"))
    found = Prediction("", "sum", names, probabilities, **size, box=(1, 2, 13, 24), **rest)
    with prediction_table(tmp_path / "P.CSV", heads=("global", "sum"), top=3) as add:
        add("a.jpg", found)
        add("b.jpg", ValueError("-broken"))
    assert read_csv(tmp_path / "P.CSV") == [
        {
            **{"file": "a.jpg", "answer": "'=1+1", "probability": "0.5"},
            **{"class_1": "'=1+1", "probability_1": "0.5"},
            **{"class_2": "'@tern", "probability_2": "0.375"},
            **{"class_3": "gull", "probability_3": "0.125"},
            **{"global": "gull", "global_probability": "0.625"},
            **{"sum": "'=1+1", "sum_probability": "0.5"},
            **{"top": "1", "left": "2", "bottom": "13", "right": "24"},
            **{"height": "30", "width": "40", "error": ""},
        },
        {
            **dict.fromkeys(read_csv(tmp_path / "P.CSV")[0], ""),
            **{"file": "b.jpg", "error": "'-broken"},
        },
    ]
    assert os.listdir(tmp_path) == ["P.CSV"]


def test_an_interrupted_run_leaves_whole_rows(call, photos, tmp_path, monkeypatch):
    (tmp_path / "p.csv").write_text("older\n")

    def photo_predictions(self, paths):
        for number, one in enumerate(original(self, paths)):
            rows = read_csv(tmp_path / "p.csv.partial")
            assert [row["file"] for row in rows] == paths[:number]  # while it goes on
            if number == 3:
                raise KeyboardInterrupt
            yield one

    original = Classifier.photo_predictions
    monkeypatch.setattr(Classifier, "photo_predictions", photo_predictions)
    call(*some(photos), f"--out={tmp_path}/p.csv", f"--report={tmp_path}/p.html", code=130)
    assert [row["file"] for row in read_csv(tmp_path / "p.csv.partial")] == some(photos, 3)
    assert (tmp_path / "p.csv").read_text() == "older\n"
    assert not (tmp_path / "p.html").exists()


def test_a_table_is_whole_though_the_page_cannot_be_written(call, photos, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "p.html")

    monkeypatch.setattr(PredictionPage, "write", full)
    files = (f"--out={tmp_path}/p.csv", f"--report={tmp_path}/p.html")
    out, _ = call(*some(photos), *files, code=1)
    assert out == [f"table of 5 images: {tmp_path}/p.csv"]
    assert [row["file"] for row in read_csv(tmp_path / "p.csv")] == some(photos)


def test_a_table_is_written_by_one_process_at_a_time(tmp_path):
    with prediction_table(tmp_path / "a.csv", heads=HEADS, top=1) as add:
        add("a.jpg", ValueError("broken"))
        with (
            pytest.raises(ValueError, match=r"a\.csv\.partial is being written by another"),
            prediction_table(tmp_path / "a.csv", heads=HEADS, top=1),
        ):
            pass
    assert len(read_csv(tmp_path / "a.csv")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_place_that_cannot_be_written_is_said_before_anything_is_read(
    call, photos, tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    for option, name in (("out", "a.csv"), ("report", "a.html")):
        given = f"--{option}={tmp_path}/{name}"
        code = f"error: {given}: {tmp_path} cannot be written: choose another --{option}"
        call(*some(photos, 1), given, code=code)
    assert not list(tmp_path.iterdir())


def test_a_place_whose_permissions_say_nothing_is_tried(call, photos):
    code = "error: --out=/proc/x.csv: /proc cannot be written: choose another --out"
    call(*some(photos, 1), "--out=/proc/x.csv", code=code)


def test_bad_names_of_files_are_refused_before_anything_is_read(call, photos, tmp_path):
    for flag in ("--out=p.txt", "--out=p", "--report=p.pdf"):
        _, said = call(photos, flag, code=2)
        assert f"{flag}: expected a name that ends in" in said[-1]
    for flag in ("--out=", "--report=", "--workdir="):  # as of a variable that is not set
        _, said = call(photos, flag, code=2)
        assert f"argument {flag[:-1]}: it is empty: expected a path" in said[-1]
    (tmp_path / "p.csv").mkdir()
    (tmp_path / "p.html").mkdir()
    for option, place in (("out", tmp_path / "p.csv"), ("report", tmp_path / "p.html")):
        flag = f"--{option}={place}"
        call(photos, flag, code=f"error: {flag}: {place} is a folder: expected the name of a file")


def test_a_file_of_a_run_is_not_written(call, photos, trained_run):
    for option, name in (("out", "predictions.csv"), ("report", "report/index.html")):
        flag, before = f"--{option}={trained_run / name}", (trained_run / name).read_bytes()
        end = f"{name} is a file of the run in {trained_run}: expected another name"
        call(*some(photos, 1), flag, code=f"error: {flag}: {end}")
        assert (trained_run / name).read_bytes() == before


def test_a_table_is_written_through_a_link_and_in_no_device(call, photos, tmp_path):
    (tmp_path / "link.csv").symlink_to("p.csv")
    call(*some(photos, 1), f"--out={tmp_path}/link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert len(read_csv(tmp_path / "p.csv")) == 1
    os.mkfifo(place := tmp_path / "pipe.csv")
    code = f"error: --out={place}: {place} is a device: expected the name of a file"
    call(*some(photos, 1), f"--out={place}", code=code)


def test_global_logits_answer_and_the_table_still_has_every_head(call, photos, tmp_path):
    call(*some(photos), "--logits=global", f"--out={tmp_path}/p.csv")
    for row in read_csv(tmp_path / "p.csv"):
        assert row["answer"] == row["global"] == row["class_1"]
        assert row["sum"]
        assert row["bottom"]


# -------------------------------------------------------------------------------------- the page


PANELS = ["the whole image", "relevance", "what the local branch sees"]


def test_the_page_shows_photo_heat_map_and_crop(call, photos, tmp_path):
    wide = Image.open(some(photos, 1)[0]).resize((320, 160))
    wide.save(tmp_path / "wide <b>.png")
    (tmp_path / "bad&.png").write_bytes(b"")
    out, _ = call(tmp_path, f"--report={tmp_path}/p.html", "--top=2", code=1)
    assert out == [f"page of 2 images: {tmp_path}/p.html"]
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "wide &lt;b&gt;.png" in text
    assert "<b>.png" not in text
    assert "1 could not be read" in text
    assert "bad&amp;.png" in text
    ((width, height),) = re.findall(r'<image id="p0" href=".*?" width="(\d+)" height="(\d+)"', text)
    assert int(width) == 2 * int(height)
    views = re.findall(
        r'viewBox="(.*?)" role="img" aria-label="[^"]*wide &lt;b&gt;.png: (.*?)"', text
    )
    assert [said for _, said in views] == PANELS
    assert [view for view, _ in views[:2]] == [f"0 0 {width} {height}"] * 2
    assert text.count('href="#p0"') == 3
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")


def test_photo_heat_map_and_crop_are_equally_high(call, photos, tmp_path):
    require_browser()
    for number, path in enumerate(some(photos, 3)):
        Image.open(path).resize([(320, 160), (200, 300), (90, 90)][number]).save(
            tmp_path / f"{number}.png"
        )
    call(tmp_path, f"--report={tmp_path}/p.html")
    script = """() => [...document.querySelectorAll(".panels")].map(
      panels => [...panels.querySelectorAll("svg")].map(x => x.getBoundingClientRect().height))"""
    for width in (390, 1400):
        heights = in_browser(tmp_path / "p.html", script, width=width)
        assert len(heights) == 3
        for one, *others in heights:
            assert others == pytest.approx([one] * 2, rel=0.02)


def test_a_narrow_photo_alone_is_not_lower_than_others(tmp_path):
    require_browser()
    page, probabilities = PredictionPage(top=1), {"global": np.array([0.25, 0.75], np.float32)}
    for width in (32, 10):  # of a model that looks at no region
        size = (32, width, (0, 0, 32, width))
        found = Prediction("a", "global", ("a", "b"), probabilities, *size, *[None] * 4)
        page.add("a.png", found, np.zeros((32, 32, 3), np.uint8))
    page.write(tmp_path / "p.html", "global logits", has_table=False)
    script = """() => [...document.querySelectorAll(".panels svg")].map(
      x => x.getBoundingClientRect().height)"""
    square, narrow = in_browser(tmp_path / "p.html", script, width=1400)
    assert 1.5 * square > narrow >= square


def test_a_page_of_many_says_how_many_it_leaves_out(call, photos, tmp_path, monkeypatch):
    monkeypatch.setattr("aftrans_jax.inference.prediction_page.MAX_CARDS", 4)
    monkeypatch.setattr("aftrans_jax.inference.prediction_page.MAX_FAILURES", 2)
    for number in range(5):
        (tmp_path / f"bad{number}.png").write_bytes(b"")
    call(photos, tmp_path, f"--report={tmp_path}/p.html", code=1)
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert text.count("<article>") == 4
    said = " ".join(text.split())
    assert "first 4 photos; 56 more" in said
    assert "With --out=FILE.csv a table has them all." in said
    call(photos, f"--report={tmp_path}/p.html", f"--out={tmp_path}/p.csv")
    assert "The table of --out has them all." in (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "5 could not be read" in text
    assert "and 3 more" in text


@pytest.mark.parametrize(("text", "shown"), [("", "MemoryError"), ("no 2 GiB", "no 2 GiB")])
def test_a_want_of_memory_names_the_photo(call, photos, tmp_path, monkeypatch, text, shown):
    """And its type, where it has no text."""

    def no_memory(*args, **kwargs):
        raise MemoryError(text)

    monkeypatch.setattr(classifier, "prepare", no_memory)
    (path,) = some(photos, 1)
    reason = f"{path!r}: {shown}"
    for name in ("p.csv", "p.jsonl"):
        files = (f"--out={tmp_path / name}", f"--report={tmp_path}/p.html")
        _, said = call(path, *files, code=1)
        assert said[-1] == f"error: {reason}"
        (row,) = (read_csv if name == "p.csv" else read_jsonl)(tmp_path / name)
        assert row["error"] == reason
    text = html.unescape((tmp_path / "p.html").read_text(encoding="utf-8"))
    assert f"{path}: {reason}" in text


def test_a_json_line_has_null_for_what_is_no_number(tmp_path):
    probabilities = {head: np.full(2, np.nan, np.float32) for head in HEADS}
    found = classifier.Prediction(
        "a", "sum", ("a", "b"), probabilities, 9, 9, (0, 0, 9, 9), *[None] * 4
    )
    with prediction_table(tmp_path / "a.jsonl", heads=HEADS, top=1) as add:
        add("a.jpg", found)
    text = (tmp_path / "a.jsonl").read_text(encoding="utf-8")
    row = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert row["probability"] is None
    assert row["heads"]["local"][1] is row["top"][0][1] is None


def test_a_page_says_what_was_answered_as_text(tmp_path):
    names, page = ("<i>tern</i>", "gull"), PredictionPage(top=2)
    probabilities = {"global": [0.75, 0.25], "local": [0.125, 0.875], "sum": [0.625, 0.375]}
    probabilities = {head: np.array(values, np.float32) for head, values in probabilities.items()}
    found = Prediction("a", "sum", names, probabilities, 8, 8, (0, 0, 8, 8), *[None] * 4)
    page.add("\u202ea.png", found, np.zeros((8, 8, 3), np.uint8))
    for _ in range(22):
        page.add("b.png", ValueError("<i>no image</i>"), None)
    page.write(tmp_path / "p.html", "logits", has_table=False)
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "<i>" not in text
    assert "<h1>1 photo named</h1>" in text
    assert "22 could not be read" in text
    assert "and 2 more" in text  # than the 20 that are named
    assert r"\u202ea.png" in text  # which would turn the line around
    shown = re.sub(r"<meter[^>]*value=\"(.*?)\">", r"\1", html.unescape(text))
    words = re.sub(r"\s+", " ", re.sub(r"<(?!/?i>)[^>]*>", " ", shown))
    assert "<i>tern</i> 62.5% 0.625 gull 37.5% 0.375" in words
    assert "global <i>tern</i> · 75.0% local gull · 87.5% sum <i>tern</i> · 62.5%" in words


def test_a_cropped_photo_keeps_the_box_in_its_place():
    """The box is the lower right quarter of the middle half of a photo of 100 x 200."""
    from aftrans_jax.inference import prediction_page

    found = classifier.Prediction(
        photo="a",
        head="sum",
        class_names=("a", "b"),
        probabilities={"sum": np.array([0.25, 0.75], np.float32)},
        height=100,
        width=200,
        seen=(25, 50, 75, 150),
        box=(50, 100, 75, 150),
        relevance=np.ones((2, 2), np.float32),
        gates=None,
        crop=None,
    )
    image = np.zeros((64, 64, 3), np.uint8)
    card = prediction_page._card(0, "a", found, image, top=2)
    assert (card.photo.width, card.photo.height) == (64, 32)
    assert card.box == Rectangle(32, 16, 31.9, 15.9)
    assert card.top == [("b", "75.0%", 0.75), ("a", "25.0%", 0.25)]
