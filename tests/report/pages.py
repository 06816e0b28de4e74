"""Pages as a browser would find them, and what to fill them with."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from aftrans_jax.report.page import write_report
from aftrans_jax.report.pictures import Picture

VOID = {"meta", "img", "input", "path", "br"}


class Page(HTMLParser):
    """What a browser would find: tags with attributes, visible text, and that all tags close."""

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
        for attributes in self.all("img"):
            head, data = attributes["src"].split(",")
            image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
            assert head == f"data:image/{image.format.lower()};base64"
            assert image.size == (int(attributes["width"]), int(attributes["height"]))
            yield attributes["alt"], image


def picture(seed=0, size=64, **changes):
    rng = np.random.default_rng(seed)
    standard = Picture(
        name=f"bird_{seed}.jpg",
        image=rng.integers(0, 256, (size, size, 3), np.uint8),
        true_class="Tern",
        predicted_class="Gull",
        confidence=0.876,
        box=(8, 4, 40, 36),
        relevance=rng.random((7, 7), np.float32),
        annotated_box=(10.5, 6.25, 44.0, 30.0),
    )
    return standard._replace(**changes)


def page(path, **changes):
    parts = {"title": "Run", "pictures": [picture()], "gates": None, "summary": {}, "history": []}
    write_report(path / "report" / "index.html", **{**parts, **changes})
    return Page((path / "report" / "index.html").read_text(encoding="utf-8"))
