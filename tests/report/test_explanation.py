"""The page on where a model looks, as a file; what its script does is tested in a browser."""

import base64
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from pages import Page

from aftrans_jax.report.explanation import Answer, Explained, Rules, write_explanation
from aftrans_jax.report.html import page_template

LAYERS, SIDE = 3, 4
RULES = Rules(
    layers=(1, 3),
    keep_ratio=0.125,
    selection="votes",
    method="most_relevant_component",
    min_box=8,
    rows=SIDE,
    cols=SIDE,
    image_size=32,
    patch_size=8,
    stride=8,
    source_size=64,
    local_size=24,
)
EVIL = '<script>alert("x")</script>&\'"</script><!--'


def explained(rng, **changes):
    standard = Explained(
        name="bird.jpg",
        photo=rng.integers(0, 256, (300, 400, 3), np.uint8),
        gate=rng.random(LAYERS, np.float32),
        layer_rows=rng.random((LAYERS, SIDE**2), np.float32),
        relevance=rng.random((SIDE, SIDE), np.float32),
        mask=rng.random((SIDE, SIDE)) < 0.5,
        box=(0, 16, 32, 64),
        answers=[
            Answer("global", False, [("Tern", 0.7), ("Gull", 0.2)]),
            Answer("sum", True, [("Gull", 0.876), ("Tern", 0.1)]),
        ],
    )
    return standard._replace(**changes)


def page(path, photos, rules=RULES, **words):
    words = {"title": "runs/cub", "said": "sum: 93 %", **words}
    write_explanation(path / "new" / "explain.html", rules=rules, photos=photos, **words)
    return Page((path / "new" / "explain.html").read_text(encoding="utf-8"))


def data(shown):
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', shown.source)
    return json.loads(block[1])


def test_one_script_may_run_and_nothing_is_asked_for(tmp_path, rng):
    shown = page(tmp_path, [explained(rng)])
    policy = next(a for a in shown.all("meta") if "http-equiv" in a)["content"]
    scripts = re.findall(r"<script>(.*?)</script>", shown.source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert len(scripts) == 1
    assert policy == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    assert not re.search(r"https?:|@import|url\(|\bon\w+=|<!--|\bfetch\(|\beval\(", shown.source)
    assert {name for name, _ in shown.found}.isdisjoint({"link", "iframe", "base", "object"})


def test_the_values_are_the_models_bit_for_bit(tmp_path, rng):
    photo = explained(rng)
    values = data(page(tmp_path, [photo]))["photos"][0]
    for name in ("gate", "layer_rows", "relevance"):
        assert base64.b64decode(values[name]) == getattr(photo, name).astype("<f4").tobytes()
    assert base64.b64decode(values["mask"]) == photo.mask.astype(np.uint8).tobytes()
    assert values["box"] == list(photo.box)


def test_the_controls_start_from_the_model(tmp_path, rng):
    shown = page(tmp_path, [explained(rng)])
    assert data(shown)["rules"] == {**RULES._asdict(), "layers": [1, 3]}
    checked = ["checked" in box for box in shown.all("input") if box["type"] == "checkbox"]
    chosen = [option["value"] for option in shown.all("option") if "selected" in option]
    assert checked == [True, False, True]
    assert chosen == ["votes", "most_relevant_component"]
    assert "random place" not in shown.text


def test_a_random_place_is_said_not_to_be_shown(tmp_path, rng):
    shown = page(tmp_path, [explained(rng)], RULES._replace(method="random"))
    assert "puts its box in a random place" in shown.text


def test_photos_keep_their_aspect_ratio_and_answers_are_told(tmp_path, rng):
    photos = [explained(rng), explained(rng, photo=np.zeros((64, 32, 3), np.uint8))]
    shown = page(tmp_path, photos)
    views = [view["style"] for view in shown.all("details")]
    assert views == ["--aspect: 400 / 300", "--aspect: 160 / 320"]
    assert ["open" in view for view in shown.all("details")] == [True, False]
    for words in ("bird.jpgGull, 88%", "sum reportedGull87.6%Tern10.0%"):
        assert words in shown.text


def test_what_users_name_is_escaped(tmp_path, rng):
    answers = [Answer("sum", True, [(EVIL, 0.9)])]
    shown = page(tmp_path, [explained(rng, name=EVIL, answers=answers)], title=EVIL, said=EVIL)
    assert "<script>alert" not in shown.source
    assert shown.text.count(EVIL) == 6  # title twice, what is said, name, class twice
    assert page(tmp_path, [explained(rng, name="\udcff.jpg")]).text


@pytest.mark.parametrize("name", ["region.js", "heat.js", "explain.js"])
def test_a_script_has_no_marks_of_a_template(name):
    """It is rendered by Jinja as the pages are, and must come out as it is."""
    template = page_template(name)
    assert template.render() == Path(template.filename).read_text(encoding="utf-8")
