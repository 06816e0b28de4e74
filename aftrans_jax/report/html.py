"""Fills templates with values, as self-contained pages."""

import base64
from pathlib import Path
from typing import Any

import jinja2

from aftrans_jax.files import make_folder, write_bytes
from aftrans_jax.report.pictures import ANNOTATED, MAGMA, PREDICTED


def write_page(path: Path, template: str, **values: Any) -> None:
    """Writes a page, complete or not at all; it opens from disk and needs no network.

    Args:
      path: path of the file; its folder is made where it is missing.
      template: name of the template.
      **values: values for the template.

    Raises:
      OSError: see `write_bytes`.
    """
    page = page_template(template).render(values)
    make_folder(path.parent)
    # File names that are not UTF-8 reach Python with surrogates, which UTF-8 cannot encode.
    write_bytes(path, page.encode(errors="backslashreplace"))


def page_template(name: str) -> jinja2.Template:
    """Returns a page's template, which escapes every value and raises for missing ones."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("aftrans_jax.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode()
    environment.filters["percent"] = percent
    environment.globals["colors"] = {
        "predicted": PREDICTED,
        "annotated": ANNOTATED,
        "relevance": MAGMA,
    }
    return environment.get_template(name)


def percent(value: float) -> str:
    """Returns a fraction in percent, to a tenth."""
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"
