"""What mkdocs makes of two kinds of links in the pages, which elsewhere are ordinary links.

One to a file beside docs/, which the site does not hold, becomes that file's name. A line that is a
link to departures.md alone becomes the list there, without its title.
"""

import re
from pathlib import Path

_DOCS = Path(__file__).resolve().parent
_LIST = re.compile(r"^\[[^\]]*\]\(departures\.md\)$", re.M)
_OUTSIDE = re.compile(r"\[`?([^\]`]+)`?\]\((\.\./[^)#]*)[^)]*\)")


def on_page_markdown(markdown: str, **_: object) -> str:
    """Returns a page with its links replaced; mkdocs calls it for each page.

    Raises:
      FileNotFoundError: a link leads to a file that is not in the repository.
    """
    departures = (_DOCS / "departures.md").read_text(encoding="utf-8").partition("\n")[2]
    return _OUTSIDE.sub(_named, _LIST.sub(lambda _: departures, markdown))


def _named(link: re.Match[str]) -> str:
    text, path = link.groups()
    if not (_DOCS / path).exists():
        raise FileNotFoundError(f"a page links to {path}, which is not in the repository")
    name = path.removeprefix("../")
    return f"`{name}`" if text.strip("/") in name else f"{text} (`{name}`)"
