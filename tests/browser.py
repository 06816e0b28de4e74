"""A page in headless Chromium, in a process of its own: Playwright leaves an event loop running."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, _NAMES)), None)


def require_browser() -> None:
    """Skips the test, and says why, where no page can be opened."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium or google-chrome: scripts of pages are not run")
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed: scripts of pages are not run")


def in_browser(path: Path, script: str, argument=None, *, width=1400):
    """The result of a JavaScript function of an argument, in a page from disk.

    Fails where the page throws, logs anything, breaks its own policy, or asks for anything else
    than itself.
    """
    request = {"url": path.as_uri(), "script": script, "argument": argument, "width": width}
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["said"] == []
    assert [url for url in answer["asked"] if not url.startswith("data:image/")] == [path.as_uri()]
    return answer["result"]


def main() -> None:
    from playwright.sync_api import sync_playwright

    request = json.load(sys.stdin)
    said, asked = [], []
    with sync_playwright() as playwright:
        # Containers run as root, which the sandbox refuses.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": request["width"], "height": 900})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda sent: asked.append(sent.url))
        page.goto(request["url"])
        result = page.evaluate(request["script"], request["argument"])
        browser.close()
    json.dump({"result": result, "said": said, "asked": asked}, sys.stdout)


if __name__ == "__main__":
    main()
