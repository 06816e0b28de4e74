"""The page of a table: what it shows of boxes and answers."""

import numpy as np
from pages import Page

from aftrans_jax.report.comparison import (
    Answer,
    Comparison,
    Disagreement,
    Group,
    Look,
    Sight,
    write_comparison,
)
from aftrans_jax.report.photos import Rectangle
from aftrans_jax.report.pictures import plain_panel
from aftrans_jax.report.plots import Measured, dots


def written(path, sights, groups=()) -> Page:
    comparison = Comparison(
        title="T",
        header=["row"],
        rows=[["a"]],
        notes="notes",
        series=["a (sum)", "b (global)"],
        plots=[dots("Accuracy", "%", [Measured(0, "a", 1.0, 0.0, 2.0)])],
        sights=sights,
        groups=groups,
        no_pictures="They agree.",
        command="command",
    )
    write_comparison(path / "table.html", comparison)
    return Page((path / "table.html").read_text(encoding="utf-8"))


def test_boxes_and_answers_are_shown(tmp_path):
    panel = plain_panel(np.zeros((224, 224, 3), np.uint8))
    looks = [
        Look(0, "a", Rectangle(1.5, 2.0, 30.0, 40.0), [Answer("sum", "<Tern>", True)]),
        Look(9, "b", None, [Answer("global", "Gull", False)]),
    ]
    sights = [
        Sight("one.jpg", "<Tern>", panel, Rectangle(0.0, 0.0, 50.0, 60.0), looks),
        Sight("two.jpg", "<Tern>", panel, None, looks),
    ]
    page = written(tmp_path, sights)
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
    panels = {name: plain_panel(np.zeros((*size, 3), np.uint8)) for name, size in sizes.items()}
    cards = [Disagreement(name, panel, [("true", "Tern")]) for name, panel in panels.items()]
    page = written(tmp_path, [], [Group("a", cards), Group("b", cards[::-1])])
    assert [image["id"] for image in page.all("image")] == ["p0", "p1"]
    assert [use["href"] for use in page.all("use")] == ["#p0", "#p1", "#p1", "#p0"]
    drawn = [(x["aria-label"], x["viewbox"]) for x in page.all("svg") if x.get("role") == "img"]
    one, two = ("<one>.jpg", "0 0 400 300"), ("two.jpg", "0 0 320 350")
    assert drawn[-4:] == [one, two, two, one]


def test_settings_keep_their_numbers_and_colours_in_all_parts(tmp_path):
    panel = plain_panel(np.zeros((224, 224, 3), np.uint8))
    look = Look(9, "b", Rectangle(1.0, 2.0, 3.0, 4.0), [Answer("sum", "Gull", True)])
    page = written(tmp_path, [Sight("one.jpg", "Tern", panel, None, [look])])
    assert "1 a (sum)2 b (global)" in page.text
    assert [g["class"] for g in page.all("g")] == ["s0", "s1 dashed"]  # of the plot, and its box
    colours = [i["class"] for i in page.all("i")]
    assert colours == ["series s0", "series s1", "series s1 dashed"]
    assert "annotated box" not in page.text  # there is none


def test_what_users_name_is_text(tmp_path):
    evil = "<b>\"&'</b>"
    panel = plain_panel(np.zeros((8, 8, 3), np.uint8))
    looks = [Look(0, evil, None, [Answer(evil, evil, True)])]
    comparison = Comparison(
        title=evil,
        header=[evil],
        rows=[[evil]],
        notes=evil,
        series=[evil],
        plots=[],
        sights=[Sight(evil, evil, panel, None, looks)],
        groups=[Group(evil, [Disagreement(evil, panel, [(evil, evil)])])],
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
