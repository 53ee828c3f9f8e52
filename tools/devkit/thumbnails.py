"""Pictures of the templates: edits of the embedded models, before and after. Needs a host, and its Python's Pillow:

cd tools && python -m devkit.thumbnails [NAME ...]   write workflows/NAME.jpg for every template, or for those named

Each is an edit that those models do well, through the template that shows them; real files make other pictures.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from x2edit_core.workflow.graph import to_api

from .host import DevError, find_host
from .layout import WORKFLOWS
from .replace import Prompt, with_demo_models
from .server import Server

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST = 40_000
SIDE = 400
_LINE = 4
_X2EDIT, _ICEDIT = "Try it now - X2Edit", "Try it now - ICEdit"
_QWEN = "Qwen-Image 8 steps (all nodes)"

# Template → (the one that draws it, task, seed of the scene).
EDITS: dict[str, tuple[str, str, int]] = {
    "Try it now - X2Edit": (_X2EDIT, "tone", 1),
    "Try it now - ICEdit": (_ICEDIT, "tone", 3),
    "Try it now - Training": ("Try it now - Training", "remove subject", 5),
    "Image Edit (X2Edit)": (_X2EDIT, "remove subject", 0),
    "Image Edit (ICEdit)": (_ICEDIT, "tone", 1),
    "Only here (X2Edit)": (_X2EDIT, "remove subject", 1),
    "Only here (ICEdit)": (_ICEDIT, "tone", 0),
    "X2Edit (all nodes)": (_X2EDIT, "style", 0),
    "X2Edit with Qwen2.5-VL (all nodes)": (_X2EDIT, "background", 0),
    "X2Edit automatic (all nodes)": (_X2EDIT, "style", 1),
    "ICEdit plain (all nodes)": (_ICEDIT, "tone", 4),
    "ICEdit experts (all nodes)": (_ICEDIT, "tone", 5),
    "ICEdit without adapter (all nodes)": (_ICEDIT, "tone", 6),
    "ICEdit several turns (all nodes)": (_ICEDIT, "tone", 7),
    "Best seed X2Edit (all nodes)": (_X2EDIT, "remove subject", 2),
    "Best seed ICEdit (all nodes)": (_ICEDIT, "tone", 8),
    "Pick the seed yourself (all nodes)": (_X2EDIT, "tone", 0),
    "Qwen-Image (all nodes)": (_QWEN, "tone", 0),
    "Qwen-Image 8 steps (all nodes)": (_QWEN, "tone", 3),
    "Edit like a picture (all nodes)": (_X2EDIT, "style", 2),
}


def draw(server: Server, info: dict[str, Any], name: str) -> Image:
    """The picture of one template: the left half before, the right half after, a white line between."""
    from PIL import Image, ImageDraw

    if name not in EDITS:
        raise DevError(f"No edit is chosen for the template {name!r}; add it to EDITS.")
    template, task, seed = EDITS[name]
    before, after = _edited(server, info, template, task, seed)
    half = SIDE // 2
    picture = after.copy()
    picture.paste(before.crop((0, 0, half, SIDE)), (0, 0))
    ImageDraw.Draw(picture).rectangle((half - _LINE // 2, 0, half + _LINE // 2 - 1, SIDE), fill="white")
    assert isinstance(picture, Image.Image)
    return picture


def _edited(server: Server, info: dict[str, Any], template: str, task: str, seed: int) -> tuple[Image, Image]:
    """A scene before and after, both saved by the graph."""
    from PIL import Image

    graph = to_api(json.loads((WORKFLOWS / f"{template}.json").read_text(encoding="utf-8")), info)
    if not _of_class(graph, "X2EditDemoScene"):
        graph = _on_a_scene(with_demo_models(graph))
    scene = graph[_of_class(graph, "X2EditDemoScene")[0]]
    scene["inputs"].update(task=task, seed=seed)
    for key in _of_class(graph, "X2EditTask"):
        graph[key]["inputs"]["task"] = task
    compare = graph[_of_class(graph, "X2EditCompare")[0]]
    saved = {}
    for side in ("before", "after"):
        saved[side] = f"thumbnail_{side}"
        inputs = {"images": compare["inputs"][side], "filename_prefix": "thumbnail"}
        graph[saved[side]] = {"class_type": "SaveImage", "inputs": inputs}
    found = dict(server.run(graph).images)
    pictures = (Image.open(io.BytesIO(found[saved[side]])).convert("RGB") for side in ("before", "after"))
    before, after = (picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS) for picture in pictures)
    return before, after


def _of_class(graph: Prompt, name: str) -> list[str]:
    return [key for key, node in graph.items() if node["class_type"] == name]


def _on_a_scene(graph: Prompt) -> Prompt:
    """A graph that edits a person's picture, on a scene and its instruction instead, and the comparison of both."""
    (picture,) = _of_class(graph, "LoadImage")
    for node in graph.values():
        links = {name: ["scene", 0] for name, value in node["inputs"].items() if value == [picture, 0]}
        node["inputs"] |= links | ({"instruction": ["scene", 1]} if "instruction" in node["inputs"] else {})
    after = graph[_of_class(graph, "SaveImage")[0]]["inputs"]["images"]
    compare = {"class_type": "X2EditCompare", "inputs": {"before": ["scene", 0], "after": after}}
    return {**graph, "scene": {"class_type": "X2EditDemoScene", "inputs": {}}, "compare": compare}


def save(image: Image, path: Path) -> None:
    """A JPEG of the best quality that stays below the limit."""
    for quality in range(92, 40, -6):
        image.save(path, "JPEG", quality=quality, optimize=True)
        if path.stat().st_size <= LARGEST:
            return


def main(names: list[str]) -> int:
    with Server(find_host()) as server:
        info = server.object_info()
        for name in names or sorted(path.stem for path in WORKFLOWS.glob("*.json")):
            save(draw(server, info, name), WORKFLOWS / f"{name}.jpg")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
