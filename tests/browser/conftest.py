"""The host's real page in a headless Chromium, with the pack and, for comparison, without it."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from devkit.browser import find_chromium
from devkit.host import Host
from devkit.layout import REPO, WORKFLOWS
from devkit.server import Server

SCREENSHOTS = REPO / ".artifacts"
READY = "() => window.app?.graph && window.LiteGraph && Object.keys(LiteGraph.registered_node_types).length > 100"


class Page:
    """The page of a running host: load graphs into it and ask it for its own conversion."""

    def __init__(self, playwright_page, server):
        self.raw = playwright_page
        self.server = server
        self.errors: list[str] = []
        playwright_page.on("console", lambda message: message.type == "error" and self._note(message.text))
        playwright_page.on("pageerror", lambda error: self._note(str(error)))
        playwright_page.goto(server.url, wait_until="load")
        playwright_page.wait_for_function(READY, timeout=120_000)
        playwright_page.wait_for_timeout(1000)
        playwright_page.keyboard.press("Escape")  # the host's templates, which it offers to whoever is new

    def _note(self, text):
        self.errors.append(re.sub(r":\d{4,5}\b|\?v=\w+", "", text))

    def evaluate(self, script, argument=None):
        return self.raw.evaluate(script, argument)

    def load(self, workflow):
        """Open `workflow` as the page opens a file."""
        self.evaluate("async w => { await app.loadGraphData(w, true, false) }", workflow)
        self.raw.wait_for_timeout(200)

    def screenshot(self, name):
        """Keep what the page shows, for a person to look at."""
        SCREENSHOTS.mkdir(exist_ok=True)
        self.raw.screenshot(path=SCREENSHOTS / f"{name}.png")

    def prompt(self):
        """The page's own API form of the open graph, through JSON as it would be sent."""
        return json.loads(self.evaluate("async () => JSON.stringify((await app.graphToPrompt()).output)"))


@pytest.fixture(scope="session")
def browser():
    executable = find_chromium()
    if executable is None:
        if os.environ.get("X2EDIT_REQUIRE_BROWSER") == "1":
            pytest.fail("No Chromium was found and X2EDIT_REQUIRE_BROWSER=1; set CHROMIUM to one.")
        pytest.skip("No Chromium was found; set CHROMIUM to one to run the browser tests.")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        running = playwright.chromium.launch(executable_path=executable, args=arguments)
        yield running
        running.close()


def _stock(base):
    """Give a host the files that the shipped workflows name: the page marks nodes whose files are missing.

    Models are empty files; pictures are the host's own.
    """
    for path in WORKFLOWS.glob("*.json"):
        workflow = json.loads(path.read_text(encoding="utf-8"))
        boxes = workflow.get("definitions", {}).get("subgraphs", [])
        for node in [*workflow["nodes"], *(node for box in boxes for node in box["nodes"])]:
            for model in node.get("properties", {}).get("models", []):
                _touch(base / "models" / model["directory"] / model["name"])
            name = (node.get("widgets_values") or [""])[0]
            if node["type"] == "LoadImage":
                shutil.copy(Path(os.environ["COMFYUI_PATH"]) / "input" / name, base / "input")


def _touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@contextmanager
def _open(browser, **server_options):
    host = Host(os.environ["COMFYUI_PATH"], sys.executable, "")
    with tempfile.TemporaryDirectory() as folder, Server(host, base=Path(folder), **server_options) as server:
        _stock(server.base)
        context = browser.new_context(viewport={"width": 1600, "height": 1000})
        yield Page(context.new_page(), server)
        context.close()


@pytest.fixture(scope="session")
def page(browser):
    """The page of a host with only this pack."""
    with _open(browser) as opened:
        yield opened


@pytest.fixture(scope="session")
def baseline_errors(browser):
    """What the page of a host without the pack logs as errors; it is not free of them itself."""
    with _open(browser, pack=None) as bare:
        return set(bare.errors)
