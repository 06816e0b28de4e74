import errno
import math
import re

import numpy as np
import pytest
from pages import page, picture, predictions

from aftrans_jax.report.statistics import share
from aftrans_jax.report.summary import Baseline


def ids(shown):
    return [attributes["id"] for _, attributes in shown.found if "id" in attributes]


def test_the_headline_is_the_reported_accuracy_with_its_interval(tmp_path):
    said = predictions([0] * 8 + [1] * 2, [0] * 10)
    shown = page(tmp_path, predictions=said, shown=0)
    assert "80.0 % of 10 test images named right by the global logits" in shown.text
    # Wilson, by hand: (0.8 + z²/20 ± z sqrt(0.16/10 + z²/400)) / (1 + z²/10), z = 1.96
    assert "49.0 % to 94.3 %" in shown.text


def test_the_headline_has_the_mean_over_classes_of_each_head(tmp_path):
    said = predictions([0] * 8 + [1] * 2, [0] * 10, local=[0] * 8 + [1, 0])
    shown = page(tmp_path, predictions=said, shown=0)
    assert "Mean per-class accuracy: global 50.0 %, local 75.0 %." in shown.text


def test_the_headline_has_top5_accuracies_where_there_are_any(tmp_path):
    shown = page(tmp_path, top5={"global": 0.9, "local": 1.0}, shown=0)
    assert "Top-5 accuracy: global 90.0 %, local 100.0 %." in shown.text
    assert "Top-5" not in page(tmp_path, shown=0).text


def test_where_nothing_was_scored_no_interval_is_given(tmp_path):
    shown = page(tmp_path, predictions=predictions([], []))
    assert "– of 0 test images named right by the global logits" in shown.text  # noqa: RUF001
    assert "nan" not in shown.text
    assert "per-class" not in shown.text


def test_a_baseline_is_set_beside_the_run_or_its_absence_is_said(tmp_path):
    shown = page(tmp_path, no_baseline="There is none.")
    assert "There is none." in shown.text
    assert "plain ViT" not in shown.text
    base = Baseline("runs/vit", share(3, 4), only_here=2, only_there=1, command="compare a b")
    shown = page(tmp_path, baseline=base)
    assert "2 are right here alone, 1 there alone" in shown.text
    assert "compare a b" in shown.text
    (plot, *_) = [svg for svg in shown.all("svg") if "with 95 %" in svg.get("aria-label", "")]
    assert plot["aria-label"].endswith("global (reported): 0.0, plain ViT: 75.0")


def test_heads_that_disagree_are_counted_and_shown(tmp_path):
    # Of 16 images both heads are right on 7, the global alone on 4, the local alone on 2.
    both, one, other = [0] * 7, [0] * 4, [0] * 2
    first = [0] * 7 + [0] * 4 + [1] * 2 + [1] * 3
    second = [0] * 7 + [1] * 4 + [0] * 2 + [1] * 3
    labels = both + one + other + [0] * 3
    shown = page(tmp_path, predictions=predictions(labels, first, local=second))
    text = shown.text
    for row in ("✓ right✓ right77", "✓ right✗ wrong44", "✗ wrong✓ right20", "✗ wrong✗ wrong30"):
        assert row in text.replace(" ✓", "✓").replace(" ✗", "✗"), row
    assert "The local logits alone are right" in text
    assert "The global logits alone are right" in text


def test_a_photo_lies_in_the_page_once_and_is_never_stretched(tmp_path):
    wide = picture(image=np.zeros((150, 300, 3), np.uint8), box=(10, 20, 110, 70))
    shown = page(tmp_path, pictures=[wide])
    photo, heat = shown.images()
    assert (photo[0]["id"], photo[1].size, photo[1].format) == ("p0", (300, 150), "JPEG")
    assert heat[0]["preserveaspectratio"] == "none"  # it is one value a patch, whatever its shape
    views = shown.views()
    assert [part for name, part in views] == [(0, 0, 300, 150)] * 2 + [(20, 10, 50, 100)]
    assert [name for name, _ in views] == [
        "bird_0.jpg: the whole image",
        "bird_0.jpg: relevance",
        "bird_0.jpg: what the local branch sees",
    ]
    assert {use["href"] for use in shown.all("use")} == {"#p0"}


def test_boxes_are_drawn_where_they_are(tmp_path):
    shown = page(tmp_path, pictures=[picture(size=448)])
    boxes = {
        kind: [
            tuple(float(r[k]) for k in ("x", "y", "width", "height"))
            for r in shown.all("rect")
            if r["class"] == kind
        ]
        for kind in ("annotated", "predicted")
    }
    assert set(boxes["annotated"]) == {(6.2, 10.5, 23.8, 33.5)}  # of (10.5, 6.25, 44, 30)
    assert set(boxes["predicted"]) == {(4, 8, 32, 32)}
    for word in ("predicted region", "annotated box", "relevance, low", "Gull · 88 %", "✗ wrong"):
        assert word in shown.text


def test_small_images_keep_their_pixels(tmp_path):
    shown = page(tmp_path, pictures=[picture(size=64)])
    attributes, image = next(shown.images())
    assert attributes["class"] == "crisp"
    np.testing.assert_array_equal(np.asarray(image), picture(size=64).image)


def test_every_photo_opens_large_and_closes_again(tmp_path):
    rng = np.random.default_rng(0)
    labels, first, second = rng.integers(0, 4, (3, 60))
    said = predictions(labels, first, "ABCD", rng.random(60), local=second)
    shown = page(tmp_path, predictions=said)
    known = ids(shown)
    assert len(known) == len(set(known))
    targets = [a["href"] for a in shown.all("a")] + [use["href"] for use in shown.all("use")]
    assert {target[1:] for target in targets} <= set(known)
    articles = [a["id"] for a in shown.all("article")]
    assert len(articles) == len([name for name in known if re.fullmatch(r"p\d+", name)]) > 30
    closing = {a["href"] for a in shown.all("a") if a.get("class") == "close"}
    assert closing == {f"#{name.replace('photo', 'at')}" for name in articles}


def test_classes_pairs_and_calibration_are_told_in_figures(tmp_path):
    """Right are one of four terns (two are called gulls), three of four gulls, and both auks."""
    labels, named = [0] * 4 + [1] * 4 + [2] * 2, [0, 1, 1, 2, 1, 1, 1, 0, 2, 2]
    shown = page(tmp_path, predictions=predictions(labels, named, ("Tern", "Gull", "Auk")))
    text = shown.text.replace("\N{NO-BREAK SPACE}", " ")
    # Wilson's intervals by hand, as above: of 1 of 4, 3 of 4 and 2 of 2.
    assert (
        "Tern25.0 %1 of 44.6 % to 69.9 %Gull (2)Gull75.0 %3 of 430.1 % to 95.4 %Tern (1)"
        "Auk100.0 %2 of 234.2 % to 100.0 %Confusion"
    ) in text
    bars = [a["style"] for a in shown.all("span") if "style" in a]
    assert bars == ["width:25.0%", "width:75.0%", "width:100.0%"]
    cells = [(a["class"], a["style"][8:]) for a in shown.all("td") if a.get("class") in CELLS]
    assert cells == [
        *(("hit", "25%"), ("miss", "50%"), ("miss", "25%")),
        *(("miss", "25%"), ("hit", "75%"), ("hit", "100%")),
    ]
    assert "classnamedimagesofTernGull24TernAuk14GullTern14" in text
    assert "Tern named Gull: 2 of 4" in text
    shown_of_it = [svg.get("aria-label") for svg in shown.all("svg")]
    for caption in ("bird_1.jpg: a mistake", "bird_0.jpg: Tern", "bird_4.jpg: Gull"):
        assert caption in shown_of_it
    assert "wrong, most confident first (4 of 4)" in text
    assert "Further images, evenly spaced by confidence; every class is on this page" in text
    assert [text.count(f"global{mark}Gull · 88 %") for mark in "✓✗"] == [3, 2]
    assert "Mean confidence 87.6 %, accuracy 60.0 %" in text
    assert "expected calibration error 27.6 %" in text


CELLS = ("hit", "miss")


def test_the_head_that_is_reported_is_named(tmp_path):
    said = predictions([0, 0, 1], [0, 1, 0], sum=[0, 0, 1], local=[0, 0, 0])._replace(
        reported="sum"
    )
    text = page(tmp_path, predictions=said).text
    assert "100.0 % of 3 test images named right by the sum of the global and local logits" in text
    assert "globallocalimagessum right" in text


def test_report_of_a_plain_vit_has_one_panel_and_no_legend(tmp_path):
    plain = picture(box=None, relevance=None, annotated_box=None)
    shown = page(tmp_path, predictions=predictions([0, 1], [0, 1]), pictures=[plain, plain])
    assert len(shown.views()) == 2
    assert "✓ right" in shown.text
    assert "predicted region" not in shown.text
    assert "Global against local" not in shown.text
    assert "No class is taken for another" in shown.text


def test_report_needs_nothing_else(tmp_path):
    shown = page(tmp_path)
    names = {name for name, _ in shown.found}
    assert names.isdisjoint({"script", "link", "iframe", "base", "object", "embed", "img"})
    assert not re.search(r"https?:|@import|url\(|\bon\w+=", shown.source)
    policy = next(a for a in shown.all("meta") if "http-equiv" in a)
    assert "default-src 'none'" in policy["content"]
    drawings = [svg for svg in shown.all("svg") if "aria-hidden" not in svg]
    assert all(svg["aria-label"] for svg in drawings)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("share of the peak", 0.8935, "89.3\N{NO-BREAK SPACE}%"),
        ("mean area of the box", np.float32(0.25), "25.0\N{NO-BREAK SPACE}%"),
        ("share in percent", 89.35, "89.3"),
        ("IoU annotated", 0.73126, "0.731"),
        ("step", 10000, "10,000"),
        ("test images", np.int32(243), "243"),
        ("images per second", 1234.5, "1,234"),
        ("time since the last start", 119.7, "2 min 0 s"),
        ("time since the last start", 678.2, "11 min"),
        ("time since the last start", 7322.0, "2 h 2 min"),
        ("time since the last start", 12.34, "12.3 s"),
        ("time since the last start", math.inf, "inf"),
        ("test loss", math.inf, "inf"),
        ("config", "demo.py", "demo.py"),
    ],
)
def test_report_writes_numbers_for_readers(tmp_path, name, value, expected):
    shown = page(tmp_path, facts={"zeta": 1, name: value, "alpha": 1}, shown=0)
    assert f"zeta 1 {name} {expected} alpha 1" in " ".join(shown.words)  # and in their order


def test_what_is_not_known_has_no_tile(tmp_path):
    shown = page(tmp_path, facts={"speed": math.nan, "area": None, "steps": 3}, shown=0)
    assert "speed" not in shown.words
    assert "area" not in shown.words
    assert "steps" in shown.words


def test_the_record_says_what_made_the_run(tmp_path):
    shown = page(
        tmp_path,
        changed=[("train.steps", "10000", "90")],
        commands=["2026-11-26 04:52:57 UTC  python -m aftrans_jax.main"],
        versions={"jax": "0.10.2", "numpy": "2.4.6"},
    )
    assert "Settings that differ from the defaults (1)" in shown.text
    assert "train.steps 90 (default: 10000)" in " ".join(shown.words)
    assert "2026-11-26 04:52:57 UTC python -m aftrans_jax.main" in shown.text
    assert "jax 0.10.2, numpy 2.4.6" in shown.text
    assert "Every setting has its default" in page(tmp_path).text


EMPTY_GATES = [None, np.zeros((0, 12)), np.zeros((3, 0)), np.full((2, 2), np.nan)]


@pytest.mark.parametrize("gates", EMPTY_GATES)
@pytest.mark.parametrize("history", [[], [{"step": 1, "loss": math.nan}]])
def test_report_of_nothing_says_so(tmp_path, gates, history):
    shown = page(tmp_path, shown=0, gates=gates, history={"train": history})
    assert "No pictures were made" in shown.text
    assert "Nothing was recorded" in shown.text


def test_no_test_image_at_all(tmp_path):
    shown = page(tmp_path, predictions=predictions([], []))
    assert "– of 0 test images" in shown.text  # noqa: RUF001
    assert "No confidence is a finite number" in shown.text


@pytest.mark.parametrize("names", [("only",), ("a", "b")])
def test_few_classes(tmp_path, names):
    labels = np.arange(12) % len(names)
    shown = page(tmp_path, predictions=predictions(labels, labels * 0, names))
    assert "every class is on this page" in shown.text
    assert len([a for a in shown.all("table") if a.get("class") == "matrix"]) == 1


def test_calibration_compares_each_bar_with_the_mean_confidence_of_its_images(tmp_path):
    sure = [0.62, 0.62, 0.95, 0.95]
    shown = page(tmp_path, predictions=predictions([0] * 4, [0, 1, 0, 0], confidence=sure))
    # At 0.62 and 0.95 of 168 px over 190, 32 px about the middles of their bins, 348.4 and 485.2.
    assert shown.paths("mark") == ["M332.4 85.8h32.0", "M469.2 30.4h32.0"]
    assert (
        "where the bar ends above it, they are more often right than the model says" in shown.text
    )


def test_confidences_that_are_nan(tmp_path):
    said = predictions([0, 1, 1], [0, 0, 0], confidence=math.nan)
    shown = page(tmp_path, predictions=said)
    assert "No confidence is a finite number" in shown.text
    assert "Tern · –" in shown.text  # noqa: RUF001


def test_200_classes_and_5794_photos_stay_small_and_say_what_is_left_out(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 200, 5794)
    predicted = np.where(rng.random(5794) < 0.6, labels, rng.integers(0, 200, 5794))
    names = [f"{i:03}.Class_{'x' * (i % 50)}" for i in range(200)]
    said = predictions(labels, predicted, names, rng.random(5794), local=labels)
    photo = picture(image=rng.integers(0, 256, (240, 320, 3), np.uint8))  # noise: JPEG's worst
    count = len(page(tmp_path, predictions=said).all("article"))
    shown = page(tmp_path, predictions=said, pictures=[photo] * count)
    assert 36 <= count <= 54
    assert len(shown.source) < 3_000_000
    for text in (
        f"{count} of 5794 test images are shown",
        "of 200 classes are on",
        "more pairs are left",
    ):
        assert text in shown.text
    shades = [a for a in shown.all("path") if "opacity" in a]
    assert 1 < len(shades) <= 8


def test_rows_of_a_large_matrix_are_numbered_as_the_list_beside_it(tmp_path):
    """Of 37 classes the fifth is named the tenth; the table above is in another order."""
    labels = np.arange(37)
    names = [f"bird_{number}" for number in labels[::-1]]
    shown = page(tmp_path, predictions=predictions(labels, np.where(labels == 4, 9, labels), names))
    assert shown.text.index("bird_320.0") < shown.text.index("bird_36100.0")
    (cells,) = [a["d"] for a in shown.all("path") if "opacity" in a]
    assert "M9 4h1v1h-1z" in cells  # of row 4..5 and column 9..10
    rows = re.findall(r'<text class="row" x="-[\d.]+" y="([\d.]+)">(\d+)<', shown.source)
    columns = re.findall(r'<text x="([\d.]+)" y="-[\d.]+">(\d+)<', shown.source)
    assert rows == columns == [(f"{number - 0.5}", f"{number}") for number in range(5, 38, 5)]
    assert "4bird_335bird_326bird_31" in shown.text
    assert "both in the order of the numbered list" in shown.text


def test_more_classes_than_the_page_has_room_for(tmp_path):
    labels = np.arange(1200) % 600
    said = predictions(labels, labels * 0, [f"c{i}" for i in range(600)])
    shown = page(tmp_path, predictions=said)
    assert "400 more accurate classes are left out" in shown.text
    assert "The matrix of so many classes is left out" in shown.text


def test_a_failure_leaves_the_old_report(tmp_path, monkeypatch):
    page(tmp_path, title="old")
    normalised = picture(image=np.zeros((8, 8, 3), np.float32))
    with pytest.raises(ValueError, match=r"bird_0\.jpg.*float32 \(8, 8, 3\): pass uint8"):
        page(tmp_path, title="new", pictures=[normalised])

    def disk_full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    file = tmp_path / "report" / "index.html"
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", disk_full)
        with pytest.raises(OSError, match="No space left") as raised:
            page(tmp_path, title="new")
    assert raised.value.filename == str(file)
    assert list(file.parent.iterdir()) == [file]
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
        for ink in ("ink", "muted", "right", "wrong", "accent"):
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
    "{% include 'base.css' %}",
    "{# gone #}",
    "\x01\x07\x1b[31m\x7f\x9f",
    "\u202e\u2028\ufeff",
    "עורב 🐦\u200d⬛ " + "long" * 60,
]


@pytest.mark.parametrize("name", HOSTILE)
def test_report_shows_hostile_names_as_text(tmp_path, name):
    def named(name):
        return page(
            tmp_path,
            title=name,
            predictions=predictions(names=(name, "Gull")),
            pictures=[picture(name=name)],
            facts={name: name},
            changed=[(name, name, name)],
            commands=[name],
            no_baseline=name,
        )

    shown, harmless = named(name), named("harmless")
    markup, expected = (
        [(tag, {**attributes, "aria-label": None}) for tag, attributes in each.found]
        for each in (shown, harmless)
    )
    assert markup == expected
    assert shown.words == [word.replace("harmless", name) for word in harmless.words]
    labels, harmless_labels = (
        [svg.get("aria-label", "") for svg in each.all("svg")] for each in (shown, harmless)
    )
    assert labels == [label.replace("harmless", name) for label in harmless_labels]
    assert shown.source.count("\udcff") == 0


def test_a_name_may_break_after_an_underscore_and_is_still_escaped(tmp_path):
    shown = page(tmp_path, predictions=predictions(names=("Manx_<b>_shearwater", "Gull")))
    assert "<bdi>Manx_<wbr>&lt;b&gt;_<wbr>shearwater</bdi>" in shown.source
    assert "trueManx_<b>_shearwater" in shown.text  # what is copied is the name


def test_names_that_are_no_unicode_are_escaped(tmp_path):
    odd = "<u>Грач 鳥 \udcff"  # a file name that is not UTF-8 reaches Python as a surrogate
    shown = page(tmp_path, predictions=predictions(names=(odd, "b")), pictures=[picture(name=odd)])
    assert "<u>Грач 鳥" in shown.text


def test_curves_and_gates_are_drawn(tmp_path):
    history = {"train": [{"step": 100, "loss": 1.0}, {"step": 0, "loss": 4.0}]}
    gates = np.array([[0.25, 0.5], [0.75, 0.5]], np.float32)
    shown = page(tmp_path, history=history, gates=gates)
    (line,) = shown.paths("line")
    assert line == "M52.0 22.0 508.0 148.0h0"  # 4 is the top of 0..4, 1 a quarter of the way up
    marked = {(dot["cx"], dot["cy"]) for dot in shown.all("circle")}
    assert {("52.0", "22.0"), ("508.0", "148.0")} <= marked
    assert [d.split("V")[1] for d in shown.paths("bar")][:2] == ["106.0"] * 2  # 0.5 of 190..22
    assert "Loss: 4, 1" in [svg.get("aria-label") for svg in shown.all("svg")]
