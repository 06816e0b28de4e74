"""The page on where a model looks, as a file; what its script does is tested in a browser."""

import base64
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from browser import in_browser, require_browser
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
    assert views == ["--aspect: 400 / 300", "--aspect: 32 / 64"]
    assert ["open" in view for view in shown.all("details")] == [True, False]
    for words in ("bird.jpgGull, 88%", "sum reportedGull87.6%Tern10.0%"):
        assert words in shown.text
    bars = [bar["style"] for bar in shown.all("i") if bar.get("class") == "bar" and "style" in bar]
    assert bars[:4] == ["width: 70.0%", "width: 20.0%", "width: 87.6%", "width: 10.0%"]


def test_maps_lie_where_their_patches_do(tmp_path, rng):
    """Patches of 8 px every 4 px of 20 stand for the 16 px around their middles, from 2 px on."""
    shown = page(tmp_path, [explained(rng)], BY_HAND)
    for rule in ("--margin: 10.0%;", "--cols: 80.0%;", "--rows: 80.0%;"):
        assert rule in shown.source
    assert "the model stretches it to 24 \N{MULTIPLICATION SIGN} 24 px" in shown.text
    assert "JavaScript is off" in shown.text


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


# -------------------------------------------------------------------------- in a browser, by hand

# Patches of 8 px, every 4 px of an image of 20 px; boxes are in px of one of 40.
BY_HAND = RULES._replace(
    keep_ratio=5 / 16,
    selection="fused",
    method="largest_component",
    image_size=20,
    stride=4,
    source_size=40,
)
LOOK = """() => {
  const pixels = (canvas) => {
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
    copy.drawImage(canvas, 0, 0);
    return Array.from(copy.getImageData(0, 0, canvas.width, canvas.height).data);
  };
  const texts = (view, name) => [...view.querySelectorAll(name)].map((x) => x.textContent);
  const look = (view) => ({
    said: texts(view, "figcaption"),
    fused: pixels(view.querySelector(".fused canvas")),
    kept: pixels(view.querySelector(".kept canvas")),
    view: view.querySelector(".crop svg").getAttribute("viewBox"),
    rendered: [...view.querySelectorAll("img, .crop image")].map(
      (image) => getComputedStyle(image).imageRendering),
    boxes: [...view.querySelectorAll(".whole rect")].map(
      (rect) => ["y", "x", "height", "width"].map((name) => Number(rect.getAttribute(name)))),
    layers: [...view.querySelectorAll(".layer")].map((tile) => ({
      words: ["name", "gate"].map((name) => tile.querySelector("." + name).textContent),
      inside: tile.querySelector("small").textContent,
      bar: tile.querySelector(".bar").style.width,
      turns: tile.htmlFor,
      map: pixels(tile.querySelector("canvas")),
    })),
  });
  VIEWS.forEach((view, index) => {
    view.open = true;
    show(index);
  });
  const found = { start: VIEWS.map(look), others: {} };
  for (const method of ["extreme_values", "most_relevant_component"]) {
    CONTROLS.method.value = method;
    update();
    found.others[method] = look(VIEWS[0]);
  }
  LAYERS[0].click();
  found.without = look(VIEWS[0]);
  return found;
}"""


@pytest.fixture(scope="module")
def looked(tmp_path_factory):
    """What is seen of three photos: their kept patches are a row and a pair, or four alone."""
    require_browser()
    rng, relevance = np.random.default_rng(0), np.full((3, SIDE, SIDE), 0.01, np.float32)
    relevance[:2, 0, 1:], relevance[:2, 2:, 0] = (0.3, 0.5, 0.4), (0.2, 0.25)
    relevance[2] = [[1, 0, 1, 0], [0] * SIDE] * 2
    mask = relevance > 0.1
    mask[1, 2, 0] = False  # as if the model had kept another
    rows = np.zeros((LAYERS, SIDE, SIDE), np.float32)
    rows[:, 0] = np.array([[0.5], [0.25], [0.75]]) / SIDE
    rows[0, 1, 0], rows[1, 2, 2], rows[2, 3, 3] = 0.5, 0.75, 0.25
    photos = [
        explained(
            rng,
            gate=np.array([0.5, 0.25, 1], np.float32),
            layer_rows=rows.reshape(LAYERS, -1),
            relevance=relevance[number],
            mask=mask[number],
            box=(0, 0, 16, 16) if number == 2 else (0, 8, 16, 40),
            photo=np.zeros((30, 40, 3) if number == 2 else (300, 400, 3), np.uint8),
        )
        for number in range(3)
    ]
    folder = tmp_path_factory.mktemp("page")
    page(folder, photos, BY_HAND)
    return in_browser(folder / "new" / "explain.html", LOOK)


def test_only_large_photos_are_smoothed(looked):
    rendered = [set(view["rendered"]) for view in looked["start"]]
    assert rendered == [{"auto"}, {"auto"}, {"pixelated"}]


def brightest(pixels):
    return int(np.reshape(pixels, (-1, 4))[:, :3].sum(axis=1).argmax())


def test_a_box_is_drawn_cut_out_and_measured(looked):
    found = looked["start"][0]
    assert found["boxes"] == [[0, 8, 16, 32]] * 3  # of 40 px; the photo has 400 x 300
    assert found["view"] == "80 0 320 120"
    assert found["said"][0] == "32 % of the photo: the model's own box."
    assert found["said"][3] == "80 % of the width, 40 % of the height."


def test_patches_are_kept_boxed_and_counted_by_groups(looked):
    kept = np.reshape(looked["start"][0]["kept"], (SIDE, SIDE, 4))[..., 3]  # the veil over each
    assert kept.tolist() == [[190, 0, 0, 0], [190] * 4, [120, 190, 190, 190], [120, 190, 190, 190]]
    assert looked["start"][0]["said"][2] == "5 of 16 patches, 2 groups (3, 2); 3 are boxed."
    assert looked["start"][2]["said"][2] == "4 of 16 patches, 4 groups (1, 1, 1, 1); 1 are boxed."


def test_each_layer_is_shown_with_its_gate_and_what_of_it_lies_in_the_box(looked):
    layers = looked["start"][0]["layers"]
    assert [layer["words"] for layer in layers] == [
        ["Layer 1", "0.50"],
        ["Layer 2", "0.25"],
        ["Layer 3", "1.00"],
    ]
    # Middles of patches lie at 8, 16, 24 and 32 px of 40: one row is above 16, all are beyond 8.
    assert [layer["inside"] for layer in layers] == ["50 % in box", "25 % in box", "75 % in box"]
    assert [layer["bar"] for layer in layers] == ["50%", "25%", "100%"]
    assert [layer["turns"] for layer in layers] == ["layer-1", "layer-2", "layer-3"]
    assert [brightest(layer["map"]) for layer in layers] == [4, 10, 15]


def test_the_map_is_the_model_s_or_that_of_the_layers_that_are_on(looked):
    assert brightest(looked["start"][0]["fused"]) == 2
    assert brightest(looked["without"]["fused"]) == 15  # layer 3 alone


def test_another_box_than_the_model_s_is_said_and_one_that_should_be_the_same(looked):
    others = looked["others"]
    said = "100 % of the photo. Dashed: the model's own box."
    assert others["extreme_values"]["said"][0] == said
    assert others["extreme_values"]["boxes"] == [[0, 0, 40, 40], [0, 0, 40, 40], [0, 8, 16, 32]]
    said = "32 % of the photo. The model's own box is the same."
    assert others["most_relevant_component"]["said"][0] == said
    assert looked["start"][1]["said"][0] == (
        "This browser finds another region than the model did: please report it."
    )
