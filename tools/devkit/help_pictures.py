"""Pictures of the nodes for their help pages, taken in the host's page. Needs playwright and Pillow of the host's Python:

cd tools && python -m devkit.help_pictures [NODE_ID ...]   write web/docs/pictures/NODE_ID.webp for every node, or for those

To be taken again when a node's sockets or widgets change.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import records
from .browser import find_chromium
from .host import DevError, find_host, log
from .layout import REPO
from .server import Server

if TYPE_CHECKING:
    from playwright.sync_api import FloatRect, Page

HELP = REPO / "web" / "docs"
FOLDER = HELP / "pictures"
LARGEST = 20_000
WIDEST = 480
_SCALE = 1.5  # the page's letters are rather small; a wide node gets less
_NARROWEST = 200  # of a node, in the graph's units: below, the page cuts off the title
_MARGIN = 6
_PLACE = (500, 150)  # clear of the bars at the page's edges
_VIEWPORT = (1600, 1400)
# As a first visit to a new host has it, but for the rendering that shows every widget, and for what lies over the graph.
_SETTINGS = {
    "Comfy.ColorPalette": "dark",
    "Comfy.Locale": "en",
    "Comfy.Minimap.Visible": False,
    "Comfy.NodeBadge.NodeSourceBadgeMode": "None",
    "Comfy.TutorialCompleted": True,
    "Comfy.VueNodes.Enabled": False,
}
# Model files by their usual names, for the loaders to list; empty, as nothing reads them here.
_STOCK = (
    "x2edit/X2Edit/lora.safetensors",
    "x2edit/X2Edit/task_embeddings.bin",
    "x2edit/X2Edit/diffusion_pytorch_model.bin",
    "LLM/Qwen3-8B/config.json",
)
_READY = "ids => window.app?.graph && ids.every(id => id in LiteGraph.registered_node_types)"
# Nodes are removed one by one: a cleared graph begins its ids again, and the page keeps widgets' values by id and name.
# Text fields are elements of their own, which follow the canvas some frames later.
_SHOW = """
async ([id, place, scale, narrowest, widest, margin]) => {
    const node = LiteGraph.createNode(id), view = app.canvas.ds, title = LiteGraph.NODE_TITLE_HEIGHT
    for (const shown of [...app.graph.nodes]) app.graph.remove(shown)
    node.pos = [0, title]
    node.size = [Math.max(node.size[0], narrowest), node.size[1]]
    app.graph.add(node)
    app.canvas.deselectAll()
    view.scale = Math.min(scale, (widest - 2 * margin) / node.size[0])
    view.offset = place.map(pixels => pixels / view.scale)
    for (let frame = 0; frame < 20; frame++) {
        app.canvas.setDirty(true, true)
        await new Promise(requestAnimationFrame)
    }
    const canvas = app.canvas.canvas.getBoundingClientRect()
    return {
        x: canvas.x + place[0] - margin,
        y: canvas.y + place[1] - margin,
        width: Math.floor(node.size[0] * view.scale) + 2 * margin,
        height: Math.floor((node.size[1] + title) * view.scale) + 2 * margin,
    }
}
"""


def take(names: Sequence[str] = ()) -> Iterator[Path]:
    """Write the pictures of the nodes in `names`, or of all; yields each one's path."""
    with _server() as server, _page() as page:
        ours = list(records.ours(server))
        if unknown := sorted(set(names) - set(ours)):
            raise DevError(f"The pack has no node {', '.join(unknown)}; it has {', '.join(ours)}.")
        page.goto(server.url)
        page.wait_for_function(_READY, arg=ours)
        page.evaluate("document.fonts.ready.then(() => null)")
        for node_id in names or ours:
            path = FOLDER / f"{node_id}.webp"
            path.write_bytes(_compressed(page.screenshot(clip=_show(page, node_id)), node_id))
            yield path


@contextmanager
def _server() -> Iterator[Server]:
    """The host with only this pack, told beforehand what its page shall look like and which files there are."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "user" / "default" / "comfy.settings.json"
        files = [settings, *(Path(folder) / "models" / name for name in _STOCK)]
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        settings.write_text(json.dumps(_SETTINGS), encoding="utf-8")
        with Server(find_host(), base=Path(folder)) as server:
            yield server


@contextmanager
def _page() -> Iterator[Page]:
    from playwright.sync_api import sync_playwright

    executable = find_chromium()
    if executable is None:
        raise DevError("No Chromium was found; set CHROMIUM to the path of one.")
    width, height = _VIEWPORT
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=executable) as browser:
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(300_000)
        yield page


def _show(page: Page, node_id: str) -> FloatRect:
    """Put the node alone into the graph, in its default size, and return where on the page it is."""
    where: Any = page.evaluate(_SHOW, [node_id, _PLACE, _SCALE, _NARROWEST, WIDEST, _MARGIN])
    if where["x"] + where["width"] > _VIEWPORT[0] or where["y"] + where["height"] > _VIEWPORT[1]:
        raise DevError(f"{node_id} does not fit into a page of {_VIEWPORT[0]} × {_VIEWPORT[1]} pixels.")
    return where


def _compressed(screenshot: bytes, node_id: str) -> bytes:
    """The screenshot as WebP, in the best quality that stays below the limit."""
    from PIL import Image

    with Image.open(io.BytesIO(screenshot)) as opened:
        picture = opened.convert("RGB")
    for quality in range(80, 30, -10):
        packed = io.BytesIO()
        picture.save(packed, "WEBP", quality=quality, method=6)
        if packed.tell() <= LARGEST:
            return packed.getvalue()
    raise DevError(f"The picture of {node_id} stays above {LARGEST} bytes.")


def main(names: list[str]) -> int:
    FOLDER.mkdir(exist_ok=True)
    try:
        for path in take(names):
            log(f"{path.relative_to(REPO)}  {path.stat().st_size} bytes")
    except DevError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
