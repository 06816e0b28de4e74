import math
import re

import numpy as np
import pytest
from pages import page, picture
from PIL import Image

from aftrans_jax.report.pictures import ANNOTATED, PREDICTED


def test_report_shows_three_panels_a_picture(tmp_path):
    shown = page(tmp_path, pictures=[picture(0), picture(1, size=224), picture(2, size=448)])
    images = list(shown.images())
    assert [image.size[0] for _, image in images] == [320] * 3 + [224] * 3 + [448] * 3
    assert [alt for alt, _ in images[:3]] == [
        "bird_0.jpg: the whole image",
        "bird_0.jpg: relevance",
        "bird_0.jpg: what the local branch sees",
    ]
    whole, heat = (np.asarray(image) for _, image in images[:2])  # PNG: exact; JPEG: nearly
    assert (whole[52, 31:46] == ANNOTATED).all()  # box (10.5, 6.25, ...) times five
    assert np.abs(heat[41, 60:150] - np.array(PREDICTED, float)).mean() < 30
    assert images[0][1].format == "PNG"
    assert (whole[100:110, 20:23] == PREDICTED).all()  # box (8, 4, ...) times five
    assert (whole[300:, 300:] == picture(0).image[60:, 60:].repeat(5, 0).repeat(5, 1)).all()
    crop = np.asarray(images[5][1], float)  # 32 x 32 to 224 x 224; JPEG, so only nearly
    crop_box = (4, 8, 36, 40)
    oracle = Image.fromarray(picture(1, size=224).image).crop(crop_box)
    oracle = oracle.resize((224, 224), Image.Resampling.BILINEAR)
    assert np.abs(crop - np.asarray(oracle, float)).mean() < 8
    for word in ("predicted region", "annotated box", "relevance", "Tern", "Gull · 88%", "✗ wrong"):
        assert word in shown.text


def test_report_of_a_plain_vit_has_one_panel_and_no_legend(tmp_path):
    plain = picture(box=None, relevance=None, annotated_box=None, predicted_class="Tern")
    shown = page(tmp_path, pictures=[plain, plain])
    assert len(list(shown.images())) == 2
    assert "2 of 2 named right" in shown.text
    assert "✓ right" in shown.text
    assert "predicted region" not in shown.text


def test_report_needs_nothing_else(tmp_path):
    shown = page(tmp_path)
    names = {name for name, _ in shown.found}
    assert names.isdisjoint({"script", "link", "iframe", "base", "object", "embed"})
    assert not re.search(r"https?:|@import|url\(|\bon\w+=", shown.source)
    policy = next(a for a in shown.all("meta") if "http-equiv" in a)
    assert "default-src 'none'" in policy["content"]
    assert all(attributes["alt"] for attributes in shown.all("img"))


def test_report_escapes_what_users_name(tmp_path):
    evil = '<script>alert("x")</script>&\'"><img src=x>'
    odd = "<u>Грач 鳥 \udcff"  # a file name that is not UTF-8 reaches Python as a surrogate
    shown = page(
        tmp_path,
        title=evil,
        pictures=[picture(name=evil, true_class=evil, predicted_class=odd)],
        summary={evil: evil},
    )
    assert not shown.all("script")
    assert len(list(shown.images())) == 3
    assert shown.text.count(evil) == 6  # title, heading, key, value, file name, class
    assert "<u>Грач 鳥" in shown.text
    assert shown.all("img")[0]["alt"] == f"{evil}: the whole image"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("global_accuracy", 0.8935, "89.3%"),
        ("accuracy", 1, "100.0%"),
        ("box_area_mean", np.float32(0.25), "25.0%"),
        ("accuracy percent", 89.35, "89.3"),
        ("IoU annotated", 0.73126, "0.731"),
        ("step", 10000, "10,000"),
        ("num_test", np.int32(243), "243"),
        ("images_per_second", 1234.5, "1,234"),
        ("seconds", 119.7, "2 min 0 s"),
        ("seconds", 12.34, "12.3"),
        ("test_loss", math.nan, "nan"),
        ("seconds", math.inf, "inf"),
        ("local_accuracy", None, "–"),  # noqa: RUF001
        ("config", "demo.py", "demo.py"),
    ],
)
def test_report_writes_numbers_for_readers(tmp_path, key, value, expected):
    shown = page(tmp_path, pictures=[], summary={"zeta": 1, key: value, "alpha": 1})
    name = key.replace("_", " ")
    assert f"zeta 1 {name} {expected} alpha 1" in " ".join(shown.words)  # and in their order


def test_report_draws_the_curves(tmp_path):
    history = [{"step": 100, "loss": 1.0, "accuracy": 0.75}, {"step": 0, "loss": 4.0}]
    history += [
        {"step": 50, "loss": math.nan},
        {"step": 60, "loss": math.inf},
        {"step": 70, "loss": 1e300},
    ]
    shown = page(tmp_path, history=history)
    loss, accuracy = shown.paths("line")
    assert loss == "M52.0 22.0 508.0 148.0h0"  # 4 is the top of 0..4, 1 a quarter of the way up
    assert accuracy == "M508.0 32.5h0"  # 0.75 on 0..0.8; a round cap makes a dot of one point
    assert shown.all("svg")[0]["aria-label"] == "Training loss: 4, 1"
    for tick in ("0", "25", "50", "75", "100", "step"):
        assert tick in shown.words


def test_report_draws_the_gates(tmp_path):
    gates = np.array([[0.25, 0.5], [0.75, 0.5], [np.nan, 0.9]], np.float32)
    shown = page(tmp_path, gates=gates)
    assert [d.split("V")[1] for d in shown.paths("bar")] == ["106.0"] * 2  # 0.5 of 190..22
    whiskers = [d.split()[1] for d in shown.paths("whisker")]
    assert whiskers == ["64.0v84.0", "106.0v0.0"]  # standard deviations 0.25 and 0
    assert shown.all("svg")[0]["aria-label"].endswith(": 0.5, 0.5")


EMPTY_GATES = [None, np.zeros((0, 12)), np.zeros((3, 0)), np.full((2, 2), np.nan)]


@pytest.mark.parametrize("gates", EMPTY_GATES)
@pytest.mark.parametrize("history", [[], [{"step": 1, "loss": math.nan}]])
def test_report_of_nothing_says_so(tmp_path, gates, history):
    shown = page(tmp_path, pictures=[], gates=gates, history=history)
    assert "No pictures were made" in shown.text
    assert "Nothing was recorded" in shown.text
    assert not shown.all("svg")


@pytest.mark.parametrize("loss", [0.0, 1e-30, 0.01, 9.999999999999999, 10.0, 1e29])
def test_report_survives_any_loss_and_many_layers(tmp_path, loss):
    gates = np.full((1, 32), 0.5)
    shown = page(tmp_path, gates=gates, history=[{"step": 0, "loss": loss}])
    assert len(shown.paths("bar")) == 32
    x, y = shown.paths("line")[0][1:-2].split()
    assert float(x) == 52
    assert 22 <= float(y) <= 190


@pytest.mark.parametrize("shape", [(64, 64, 3), (1, 1, 3), (1, 300, 3), (7, 3, 3)])
@pytest.mark.parametrize("box", [(0, 0, 1, 1), (63, 63, 64, 64), (-5.0, 3.5, 300.0, 99.0)])
def test_report_survives_extreme_shapes_and_boxes(tmp_path, shape, box):
    odd = picture(image=np.zeros(shape, np.uint8), box=box, annotated_box=box)
    scale = max(1, round(320 / max(shape)))
    expected = (shape[1] * scale, shape[0] * scale)
    assert [image.size for _, image in page(tmp_path, pictures=[odd]).images()] == [expected] * 3


def test_report_of_200_classes(tmp_path):
    small = np.zeros((8, 8, 3), np.uint8)
    names = [f"{i:03}.Class_{'x' * (i % 50)}" for i in range(200)]
    pictures = [
        picture(image=small, true_class=n, predicted_class=names[0], box=None) for n in names
    ]
    shown = page(tmp_path, pictures=pictures)
    assert "1 of 200 named right" in shown.text
    assert all(name in shown.words for name in names)


def test_a_failure_leaves_the_old_report(tmp_path, monkeypatch):
    page(tmp_path, title="old")
    normalised = picture(image=np.zeros((8, 8, 3), np.float32))
    with pytest.raises(ValueError, match=r"bird_0\.jpg.*float32 \(8, 8, 3\): pass uint8"):
        page(tmp_path, title="new", pictures=[picture(1), normalised])

    def disk_full(self, data):
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_bytes", disk_full)
        with pytest.raises(OSError, match="disk full"):
            page(tmp_path, title="new")
    file = tmp_path / "report" / "index.html"
    assert "<h1>old</h1>" in file.read_text(encoding="utf-8")
    assert "new" in page(tmp_path, title="new").text
    assert list(file.parent.iterdir()) == [file]  # nothing half-written stays


def luminance(color):
    channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_text_has_contrast_in_light_and_dark(tmp_path):
    source = page(tmp_path).source
    dark_from = source.index("prefers-color-scheme: dark")
    for theme in (source[:dark_from], source[dark_from:]):
        colors = dict(re.findall(r"--(\w+): (#\w+)", theme))
        colors = {
            k: c if len(c) == 7 else "#" + "".join(2 * x for x in c[1:]) for k, c in colors.items()
        }
        for ink in ("ink", "muted", "right", "wrong"):
            for paper in ("page", "card"):
                low, high = sorted(luminance(colors[name]) for name in (ink, paper))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, paper)  # WCAG AA


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' autofocus onfocus='alert(1)",
    "</title></style></article></main>",
    "<!-- <![CDATA[ <?",
    "&lt;b&gt; &amp &#60;",
    "{{ 7*7 }}",
    "{% raw %}",
    "{% include 'report.css' %}",
    "{# gone #}",
    "\x01\x07\x1b[31m\x7f\x9f",
    "\u202e\u2028\ufeff",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_report_shows_hostile_names_as_text(tmp_path, name):
    def named(name):
        pictures = [picture(name=name, true_class=name, predicted_class=name)]
        return page(tmp_path, title=name, pictures=pictures, summary={name: name})

    shown, harmless = named(name), named("harmless")
    markup, expected = (
        [(tag, {**attributes, "alt": None}) for tag, attributes in each.found]
        for each in (shown, harmless)
    )
    assert markup == expected
    assert shown.words == [word.replace("harmless", name) for word in harmless.words]
    alts, harmless_alts = (
        [image["alt"] for image in each.all("img")] for each in (shown, harmless)
    )
    assert alts == [alt.replace("harmless", name) for alt in harmless_alts]
    assert shown.words.count(name) == 6  # title, heading, key, value, file name, true class
