"""The page of a table: what it shows of boxes and answers."""

import numpy as np
from pages import Page

from aftrans_jax.report.comparison import (
    ComparedImage,
    Comparison,
    Disagreement,
    DisagreementGroup,
    SettingPrediction,
    write_comparison,
)
from aftrans_jax.report.gallery import PredictedClass
from aftrans_jax.report.photos import Rectangle, encoded_photo
from aftrans_jax.report.pictures import Picture
from aftrans_jax.report.plots import Measured, dots


def black(height, width):
    return encoded_photo(Picture("x", np.zeros((height, width, 3), np.uint8)))


def written(path, compared_images, groups=()) -> Page:
    comparison = Comparison(
        title="T",
        header=["row"],
        rows=[["a"]],
        notes="notes",
        series=["a (sum)", "b (global)"],
        plots=[dots("Accuracy", "%", [Measured(0, "a", 1.0, 0.0, 2.0)])],
        compared_images=compared_images,
        groups=groups,
        no_pictures="They agree.",
        command="command",
    )
    write_comparison(path / "table.html", comparison)
    return Page((path / "table.html").read_text(encoding="utf-8"))


def test_boxes_and_answers_are_shown(tmp_path):
    photo, tern = black(224, 224), PredictedClass("sum", "<Tern>", True)
    rows = [
        SettingPrediction(0, "a", Rectangle(1.5, 2.0, 30.0, 40.0), [tern]),
        SettingPrediction(9, "b", None, [PredictedClass("global", "Gull", False)]),
    ]
    compared = [
        ComparedImage("one.jpg", "<Tern>", photo, Rectangle(0.0, 0.0, 50.0, 60.0), rows),
        ComparedImage("two.jpg", "<Tern>", photo, None, rows),
    ]
    page = written(tmp_path, compared)
    images, uses = page.all("image"), page.all("use")
    assert [image["id"] for image in images] == ["photo1", "photo2"]  # each photo once in the page
    assert [use["href"] for use in uses] == ["#photo1", "#photo2"]
    boxes = [tuple(map(float, (r["x"], r["y"], r["width"], r["height"]))) for r in page.all("rect")]
    annotated, own = (0, 0, 50, 60), (1.5, 2, 30, 40)
    assert boxes == [annotated] * 2 + [own] * 2 + [annotated] * 2 + [own] * 2
    said = [p["class"] for p in page.all("p") if p.get("class") in ("right", "wrong")]
    assert said == ["right", "wrong"] * 2
    assert "✓ sum <Tern>" in page.text
    assert "✗ global Gull" in page.text
    assert "annotated box" in page.text
    assert "https:" not in page.source.replace("https://www.w3.org", "")


def test_a_photo_that_tells_several_lines_apart_is_in_the_page_once(tmp_path):
    sizes = {"<one>.jpg": (300, 400), "two.jpg": (350, 320)}
    cards = [Disagreement(name, black(*size), [("true", "Tern")]) for name, size in sizes.items()]
    groups = [DisagreementGroup("a", cards), DisagreementGroup("b", cards[::-1])]
    page = written(tmp_path, [], groups)
    assert [image["id"] for image in page.all("image")] == ["p0", "p1"]
    assert [use["href"] for use in page.all("use")] == ["#p0", "#p1", "#p1", "#p0"]
    drawn = [(x["aria-label"], x["viewbox"]) for x in page.all("svg") if x.get("role") == "img"]
    one, two = ("<one>.jpg", "0 0 400 300"), ("two.jpg", "0 0 320 350")
    assert drawn[-4:] == [one, two, two, one]


def test_small_photos_are_enlarged_without_smoothing(tmp_path):
    rows = [SettingPrediction(0, "a", None, [])]
    compared = [ComparedImage("x", "Tern", black(side, side), None, rows) for side in (64, 224)]
    cards = [Disagreement(str(side), black(side, side), []) for side in (224, 64)]
    page = written(tmp_path, compared, [DisagreementGroup("a", cards)])
    classes = [(image["width"], image.get("class")) for image in page.all("image")]
    assert classes == [("224", None), ("64", "crisp"), ("64", "crisp"), ("224", None)]
    assert ".crisp { image-rendering: pixelated; }" in page.source


def test_settings_keep_their_numbers_and_colours_in_all_parts(tmp_path):
    gull = PredictedClass("sum", "Gull", True)
    row = SettingPrediction(9, "b", Rectangle(1.0, 2.0, 3.0, 4.0), [gull])
    page = written(tmp_path, [ComparedImage("one.jpg", "Tern", black(224, 224), None, [row])])
    assert "1 a (sum)2 b (global)" in page.text
    assert [g["class"] for g in page.all("g")] == ["s0", "s1 dashed"]  # of the plot, and its box
    colours = [i["class"] for i in page.all("i")]
    assert colours == ["series s0", "series s1", "series s1 dashed"]
    assert "annotated box" not in page.text  # there is none


def test_what_users_name_is_text(tmp_path):
    evil = "<b>\"&'</b>"
    photo = black(8, 8)
    rows = [SettingPrediction(0, evil, None, [PredictedClass(evil, evil, True)])]
    comparison = Comparison(
        title=evil,
        header=[evil],
        rows=[[evil]],
        notes=evil,
        series=[evil],
        plots=[],
        compared_images=[ComparedImage(evil, evil, photo, None, rows)],
        groups=[DisagreementGroup(evil, [Disagreement(evil, photo, [(evil, evil)])])],
        no_pictures="",
        command=evil,
        changed=[["key", "a"], [evil, evil]],
    )
    write_comparison(tmp_path / "table.html", comparison)
    page = Page((tmp_path / "table.html").read_text(encoding="utf-8"))
    assert "<b>" not in page.source.replace("<b>✓ ", "")
    # Title twice; header, cell, notes, two settings, series; name, class, row, head and answer of
    # the first image; group, name, who and what of the second; command.
    assert page.text.count(evil) == 2 + 6 + 5 + 4 + 1


def test_a_table_without_boxes_has_no_such_part(tmp_path):
    page = written(tmp_path, [])
    assert "Where they look" not in page.text
    assert "They agree." in page.text
