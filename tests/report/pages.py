"""Pages as browsers see them, and made-up contents for them."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from aftrans_jax.report.page import PageContents, write_report
from aftrans_jax.report.pictures import Picture
from aftrans_jax.report.shown_images import choose
from aftrans_jax.report.statistics import SplitPredictions

VOID = {"meta", "img", "input", "path", "br", "image", "use", "rect", "circle", "wbr"}


class Page(HTMLParser):
    """Tags with attributes and visible text, as a browser finds them; fails if a tag stays open."""

    def __init__(self, text):
        super().__init__()
        self.source, self.found, self.words, self.open = text, [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style" and not data.isspace():
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]

    def paths(self, kind):
        return [path["d"] for path in self.all("path") if path.get("class") == kind]

    @property
    def text(self):
        return " ".join("".join(self.words).split())

    def images(self):
        """Every image file of the page, as a browser decodes it, by id; heat maps have none."""
        for attributes in self.all("image"):
            head, data = attributes["href"].split(",")
            image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
            assert head == f"data:image/{image.format.lower()};base64"
            yield attributes, image

    def views(self):
        """The drawings of photos: their texts and the parts of photos that they show."""
        return [
            (svg["aria-label"], tuple(map(float, svg["viewbox"].split())))
            for svg in self.all("svg")
            if svg.get("aria-label", "").rpartition(": ")[2] in PANELS
        ]


PANELS = ("the whole image", "relevance", "what the local branch sees")


def picture(seed=0, size=64, **changes):
    rng = np.random.default_rng(seed)
    standard = Picture(
        name=f"bird_{seed}.jpg",
        image=rng.integers(0, 256, (size, size, 3), np.uint8),
        box=(8, 4, 40, 36),
        relevance=rng.random((7, 7), np.float32),
        annotated_box=(10.5, 6.25, 44.0, 30.0),
    )
    return standard._replace(**changes)


def predictions(labels=(0,), predicted=(1,), names=("Tern", "Gull"), confidence=0.876, **heads):
    """Predictions of one head, "global", which is reported; further heads' are given by name."""
    said = {"global": predicted, **heads}
    labels = np.array(labels, np.int32)
    sure = np.broadcast_to(np.array(confidence, np.float32), labels.shape)
    return SplitPredictions(
        labels=labels,
        predicted={head: np.array(found, np.int32) for head, found in said.items()},
        confidence=dict.fromkeys(said, sure),
        reported="global",
        class_names=names,
    )


def page(path, *, shown=36, pictures=None, **changes):
    """The page of a run that misclassified its one test image, with changes to `PageContents`."""
    said = changes.pop("predictions", predictions())
    chosen = choose(said, shown)
    rows = chosen.rows()
    parts = {
        "title": "Run",
        "baseline": None,
        "no_baseline": "",
        "top5": {},
        "facts": {},
        "history": {},
        "gates": None,
        "chosen": chosen,
        "pictures": dict(zip(rows, pictures or map(picture, rows), strict=True)),
        "changed": [],
        "versions": {},
        "commands": [],
    }
    write_report(
        path / "report" / "index.html", PageContents(predictions=said, **{**parts, **changes})
    )
    return Page((path / "report" / "index.html").read_text(encoding="utf-8"))
