"""The candidates' cards in the host's real page: shown, clicked, found again after a reload, gone when the run ends."""

from __future__ import annotations

import re
import time

import pytest
from devkit.running import Running, shown

from x2edit_core.workflow.client import Client

CARDS = ".x2edit-picker button.x2edit-card"


def graph(seed, timeout=0):
    return {
        "models": {"class_type": "X2EditDemoModels", "inputs": {"base": "x2edit"}},
        "text": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["models", 1], "text": "make it red"}},
        "latent": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "source": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 99}},
        "judge": {"class_type": "X2EditHumanJudge", "inputs": {"timeout": timeout}},
        "filter": {
            "class_type": "X2EditEarlyFilter",
            "inputs": {
                "model": ["models", 0], "positive": ["text", 0], "negative": ["text", 0], "latent": ["latent", 0],
                "vae": ["models", 2], "judge": ["judge", 0], "source": ["source", 0],
                "instruction": "<b>make it red</b>", "seed": seed, "seeds": 3, "early_steps": 1, "steps": 2, "cfg": 1.0,
                "sampler": "euler", "scheduler": "simple", "mode": "continue", "order": "champion",
            },
        },
        "seed": {"class_type": "PreviewAny", "inputs": {"source": ["filter", 1]}},
    }  # fmt: skip


class PageClient(Client):
    """One whose prompts are a page's. It listens to nothing: the host sends each client's events to one socket."""

    def run(self, graph, on_progress=None, timeout=900.0):
        return super().run(graph, None, timeout)


def queued_by(page):
    client = PageClient(page.server.url)
    client.client_id = page.evaluate("() => window.comfyAPI.api.api.clientId")
    assert client.client_id
    return client


def seed_of(running):
    running.join(60)
    assert running.error is None
    return int(shown(running.result, "seed"))


@pytest.fixture
def start(page):
    """Queue a graph; whatever the test leaves running is interrupted."""
    started = []

    def run(seed, **options):
        started.append(Running(queued_by(page), graph(seed, **options)))
        return started[-1]

    yield run
    for running in started:
        if running.is_alive():
            page.server.interrupt()
            running.join(60)


@pytest.fixture(params=[False, True], ids=["classic", "nodes2"])
def rendering(page, request):
    page.evaluate("on => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)", request.param)
    yield
    page.evaluate("() => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")


@pytest.fixture(autouse=True)
def graph_in_front(page):
    """A fresh profile opens the template browser, whose focus no other part of the page gets."""
    page.raw.keyboard.press("Escape")
    page.raw.wait_for_timeout(500)


def gone(page):
    page.raw.wait_for_selector(".x2edit-picker", state="detached", timeout=20_000)


def test_a_click_chooses(page, start, rendering):
    running = start(100 + int(time.time()))
    page.raw.wait_for_selector(CARDS, timeout=60_000)
    assert page.raw.locator(CARDS).count() == 3
    loaded = page.raw.wait_for_function(
        "() => { const all = [...document.querySelectorAll('.x2edit-picker img')];"
        " return all.length === 4 && all.every(i => i.complete && i.naturalWidth > 0) }"
    )
    assert loaded
    assert page.raw.locator(".x2edit-instruction").inner_text() == "<b>make it red</b>", "text, never markup"
    page.raw.locator(CARDS).nth(1).click()
    first = running.graph["filter"]["inputs"]["seed"]
    assert seed_of(running) == first + 1
    gone(page)


def test_a_digit_chooses_and_the_graph_stays_as_it_is(page, start):
    before = page.evaluate("() => JSON.stringify(app.graph.serialize())")
    running = start(2000 + int(time.time()))
    page.raw.wait_for_selector(CARDS, timeout=60_000)
    page.raw.keyboard.press("Delete")
    page.raw.keyboard.press("3")
    assert seed_of(running) == running.graph["filter"]["inputs"]["seed"] + 2
    gone(page)
    assert page.evaluate("() => JSON.stringify(app.graph.serialize())") == before


EDITABLE = {
    "input": "<input id='typing'>",
    "textarea": "<textarea id='typing'></textarea>",
    "select": "<select id='typing'><option>1</option><option>2</option></select>",
    "contenteditable": "<div id='typing' contenteditable='true'></div>",
}


@pytest.fixture
def typing(page, request):
    """Something at the top of the page that the person is filling in."""
    page.evaluate(
        "html => { const place = document.createElement('div'); place.id = 'form'; place.innerHTML = html;"
        " place.style = 'position: fixed; z-index: 2000; top: 0; left: 0';"
        " document.body.append(place); document.getElementById('typing').focus() }",
        EDITABLE[request.param],
    )
    assert focused(page) == "typing"
    yield
    page.evaluate("() => document.getElementById('form').remove()")


def focused(page):
    return page.evaluate("() => document.activeElement.id || document.activeElement.className")


def assert_open(page, running):
    page.raw.wait_for_timeout(700)
    assert running.is_alive() and page.raw.locator(CARDS).count() == 3


@pytest.mark.parametrize("typing", EDITABLE, indirect=True)
def test_whoever_types_goes_on_typing(page, start, typing):
    running = start(6000 + int(time.time()))
    page.raw.wait_for_selector(CARDS, timeout=60_000)
    assert focused(page) == "typing"
    page.raw.keyboard.press("2")
    assert_open(page, running)
    assert page.raw.locator(".x2edit-picker [role=alert] h2").is_visible(), "a screen reader says it all the same"
    page.raw.locator(".x2edit-picker h2").click()
    assert focused(page) == "x2edit-picker"
    page.raw.keyboard.press("2")
    assert seed_of(running) == running.graph["filter"]["inputs"]["seed"] + 1
    gone(page)


def test_shortcuts_choose_nothing(page, start):
    running = start(7000 + int(time.time()))
    page.raw.wait_for_selector(CARDS, timeout=60_000)
    assert focused(page) == "x2edit-card"
    assert page.raw.locator(".x2edit-picker [role=alert]").count() == 0, "the focus says it already"
    for modifier in ("Control", "Meta", "Alt"):
        page.raw.keyboard.press(f"{modifier}+2")
        page.raw.keyboard.press(f"{modifier}+Space")
    assert_open(page, running)
    page.raw.keyboard.press("3")
    assert seed_of(running) == running.graph["filter"]["inputs"]["seed"] + 2
    gone(page)


def test_a_reloaded_page_finds_the_open_question(page, start):
    from .conftest import READY

    running = start(3000 + int(time.time()), timeout=300)
    page.raw.wait_for_selector(CARDS, timeout=60_000)
    page.raw.reload(wait_until="load")
    page.raw.wait_for_function(READY, timeout=120_000)
    page.raw.wait_for_selector(CARDS, timeout=20_000)
    assert "s" in page.raw.locator(".x2edit-timer").inner_text()
    page.raw.locator(CARDS).first.click()
    assert seed_of(running) == running.graph["filter"]["inputs"]["seed"]
    gone(page)


def test_hiding_keeps_it_open_and_stopping_ends_the_run(page, start):
    running = start(4000 + int(time.time()))
    page.raw.wait_for_selector(CARDS, timeout=60_000)
    hide, stop = (page.raw.locator(".x2edit-picker footer button").nth(index) for index in (0, 1))
    hide.click()
    assert not page.raw.locator(CARDS).first.is_visible()
    hide.click()
    assert page.raw.locator(CARDS).first.is_visible()
    stop.click()
    running.join(60)
    assert type(running.error).__name__ == "PromptInterrupted"
    gone(page)


def test_time_closes_the_cards(page, start):
    running = start(5000 + int(time.time()), timeout=4)
    page.raw.wait_for_selector(CARDS, timeout=60_000)
    assert seed_of(running) == running.graph["filter"]["inputs"]["seed"]
    gone(page)


def test_another_persons_page_says_only_that_something_waits(page, browser, start):
    from .conftest import Page

    running = start(8000 + int(time.time()), timeout=300)
    page.raw.wait_for_selector(CARDS, timeout=60_000)
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    asked = []
    try:
        other = context.new_page()
        other.on("request", lambda request: asked.append(request.url))
        opened = Page(other, page.server)
        opened.raw.wait_for_selector(".x2edit-elsewhere", timeout=20_000)
        opened.raw.wait_for_timeout(700)
        assert opened.raw.locator(".x2edit-picker").count() == 0
        assert "make it red" not in opened.raw.content()
        assert not [url for url in asked if re.search(r"x2edit/choices/\w", url)], "no picture was fetched"
        opened.screenshot("picker_elsewhere")
        assert page.raw.locator(".x2edit-elsewhere").count() == 0
        page.raw.locator(CARDS).nth(2).click()
        assert seed_of(running) == running.graph["filter"]["inputs"]["seed"] + 2
        opened.raw.wait_for_selector(".x2edit-elsewhere", state="detached", timeout=20_000)
    finally:
        context.close()


def test_a_run_that_no_page_queued_shows_no_cards(page):
    running = Running(Client(page.server.url), graph(9000 + int(time.time()), timeout=3))
    page.raw.wait_for_selector(".x2edit-elsewhere", timeout=60_000)
    assert page.raw.locator(".x2edit-picker").count() == 0
    assert seed_of(running) == running.graph["filter"]["inputs"]["seed"]
    page.raw.wait_for_selector(".x2edit-elsewhere", state="detached", timeout=20_000)


def test_the_page_logged_no_error(page, baseline_errors):
    """Runs last: over everything above."""
    assert set(page.errors) <= baseline_errors
