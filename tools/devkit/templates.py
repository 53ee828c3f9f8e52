"""The templates with one box, on the embedded models, to try at once, and on a person's own, and those of Qwen-Image; and
the notes and the layout of those that were put together by hand. Needs a host, for its slots:

cd tools && python -m devkit.templates   write them into workflows/
"""

from __future__ import annotations

import json
import re
import sys
import uuid
from collections.abc import Callable, Mapping
from functools import partial

from . import graph_notes, notes
from .arrange import arranged
from .blueprints import ICEDIT, X2EDIT, Blueprint, Widget, make, make_of
from .graph_builder import Box, GraphBuilder, Json
from .host import find_host
from .layout import REPO, WORKFLOWS
from .node_templates import qwen_image, teach
from .picture_template import edit_like_a_picture
from .server import Server

_STEPS = 20


def _edit_x2edit(graph: GraphBuilder) -> None:
    """What is in the box of the X2Edit miniature."""
    scene = graph.node("X2EditDemoScene", (0, 0, 320, 190))
    models = graph.node("X2EditDemoModels", (0, 250, 320, 110), base="x2edit")
    adapter = graph.node("X2EditAdapterLoader", (0, 420, 320, 60), adapter_name="embedded: x2edit")
    text = graph.node("CLIPTextEncode", (380, 0, 320, 60), text=scene["instruction"], clip=models["clip"])
    guided = graph.node("FluxGuidance", (380, 130, 320, 60), conditioning=text["CONDITIONING"], guidance=3.5)
    reference = graph.node(
        "X2EditReference", (380, 250, 320, 170),
        conditioning=guided["CONDITIONING"], vae=models["vae"], image=scene["image"], size="keep",
    )  # fmt: skip
    nothing = graph.node("ConditioningZeroOut", (380, 480, 320, 30), conditioning=text["CONDITIONING"])
    model = graph.node(
        "X2EditApply", (760, 0, 320, 170), model=models["model"], adapter=adapter["adapter"], task=scene["task"]
    )
    sampled = graph.node(
        "KSampler", (760, 230, 320, 262),
        model=model["model"], positive=reference["conditioning"], negative=nothing["CONDITIONING"],
        latent_image=reference["latent"], seed=1, steps=_STEPS, cfg=1.0, sampler_name="euler", scheduler="simple",
    )  # fmt: skip
    picture = graph.node("VAEDecode", (1140, 0, 240, 46), samples=sampled["LATENT"], vae=models["vae"])
    edit = graph.node("X2EditRestore", (1140, 110, 300, 90), image=picture["IMAGE"], layout=reference["layout"])
    graph.node("SaveImage", (1140, 260, 300, 270), images=edit["image"])


def _edit_icedit(graph: GraphBuilder) -> None:
    """What is in the box of the ICEdit miniature."""
    scene = graph.node("X2EditDemoScene", (0, 0, 320, 190))
    models = graph.node("X2EditDemoModels", (0, 250, 320, 110), base="fill")
    adapter = graph.node("X2EditAdapterLoader", (0, 420, 320, 60), adapter_name="embedded: icedit")
    diptych = graph.node("ICEditDiptych", (380, 0, 320, 150), image=scene["image"], width=128)
    conditioning = graph.node(
        "ICEditConditioning", (380, 210, 320, 330),
        clip=models["clip"], vae=models["vae"], instruction=scene["instruction"],
        diptych=diptych["diptych"], mask=diptych["mask"],
    )  # fmt: skip
    model = graph.node("X2EditApply", (760, 0, 320, 170), model=models["model"], adapter=adapter["adapter"])
    sampled = graph.node(
        "KSampler", (760, 230, 320, 262),
        model=model["model"], positive=conditioning["positive"], negative=conditioning["negative"],
        latent_image=conditioning["latent"], seed=1, steps=_STEPS, cfg=1.0, sampler_name="euler", scheduler="simple",
    )  # fmt: skip
    canvas = graph.node("VAEDecode", (1140, 0, 240, 46), samples=sampled["LATENT"], vae=models["vae"])
    edit = graph.node("ICEditCrop", (1140, 110, 300, 130), image=canvas["IMAGE"], layout=diptych["layout"])
    graph.node("SaveImage", (1140, 300, 300, 270), images=edit["image"])


_SAMPLER = (Widget("KSampler", "seed", "seed"), Widget("KSampler", "steps", "steps"))
MINIATURES = {
    Blueprint("Edit with the X2Edit miniature", "", "X2Edit on the embedded models.", _SAMPLER): _edit_x2edit,
    Blueprint("Edit with the ICEdit miniature", "", "ICEdit on the embedded models.", _SAMPLER): _edit_icedit,
}
_TRY_X2EDIT, _TRY_ICEDIT = MINIATURES
_QWEN, _QWEN_LIGHTNING = partial(qwen_image, lightning=False), partial(qwen_image, lightning=True)
# Small enough for the page to show at full size when it fits the graph into the window.
_NOTE: Box = (0, 0, 400, 960)
_SMALL_NOTE: Box = (0, 0, 400, 330)
_SCENE: Box = (430, 0, 280, 220)
_PICTURE: Box = (430, 0, 280, 370)
_SAID: Box = (430, 430, 280, 110)
_SMALL_BOX: Box = (740, 0, 310, 190)
_BOX: Box = (740, 0, 310, 460)
_SENTENCES: Box = (430, 650, 620, 310)
_COMPARE: Box = (1080, 0, 440, 460)
_SAVE: Box = (1080, 560, 440, 340)


class Composer:
    """Puts templates together for one host."""

    def __init__(self, info: Json, host_version: str) -> None:
        text = (REPO / "pyproject.toml").read_text(encoding="utf-8")
        version = re.search(r'^version = "(.+)"$', text, re.MULTILINE)
        assert version
        self._new = partial(GraphBuilder, info, version[1], host_version)

    def compose(self, name: str) -> Json:
        return TEMPLATES[name](self, str(uuid.uuid5(uuid.NAMESPACE_URL, f"x2edit/template/{name}")))

    def _miniature(self, blueprint: Blueprint) -> Json:
        inside = self._new()
        MINIATURES[blueprint](inside)
        return make_of(blueprint, inside.done(""))

    def _beside(self, box: Json) -> GraphBuilder:
        return self._new(first_id=box["last_node_id"] + 1)

    def try_now(self, blueprint: Blueprint, note: notes.Note, task: str, seed: int, identity: str) -> Json:
        """A scene, the miniature in a box, and the comparison with the exact answer."""
        box = self._miniature(blueprint)
        graph = self._beside(box)
        graph.note(note.english, _SMALL_NOTE, note.title)
        scene = graph.node("X2EditDemoScene", _SCENE, task=task, seed=seed)
        given: Json = {name: scene[name] for name in ("image", "instruction", "task") if name in _sockets(box)}
        edit = graph.box(box, _SMALL_BOX, **given)
        graph.node("PreviewAny", (430, 300, 280, 110), "Instruction", source=scene["instruction"])
        graph.node("X2EditCompare", _COMPARE, before=scene["image"], after=edit["image"], target=scene["target"])
        graph.node("SaveImage", _SAVE, images=edit["image"], filename_prefix="x2edit/try")
        return graph.done(identity)

    def one_box(self, blueprint: Blueprint, note: notes.Note, prefix: str, masked: bool, identity: str) -> Json:
        """A picture, the blueprint, and the comparison of both; with `masked`, only what was painted over changes."""
        box = make(blueprint)
        graph = self._beside(box)
        graph.note(note.english, _NOTE, note.title)
        graph.note(notes.SENTENCES.english, _SENTENCES, notes.SENTENCES.title)
        picture = graph.node("LoadImage", _PICTURE, image="example.png")
        given: Json = {"mask": picture["MASK"]} if masked else {}
        if "stitch" in _sockets(box) and masked:
            given["stitch"] = "feathered"
        edit = graph.box(box, _BOX, image=picture["IMAGE"], **given)
        if "name" in edit:
            graph.node("PreviewAny", _SAID, "Kind of edit", source=edit["name"])
        shown: Json = {"mask": picture["MASK"]} if masked else {}
        graph.node("X2EditCompare", _COMPARE, before=picture["IMAGE"], after=edit["image"], **shown)
        graph.node("SaveImage", _SAVE, images=edit["image"], filename_prefix=prefix)
        return graph.done(identity)

    def all_nodes(self, put: Callable[[GraphBuilder], None], note: notes.Note, identity: str) -> Json:
        """A graph with every node in sight, its note on the left."""
        graph = self._new()
        put(graph)
        graph.note(note.english, _NOTE, note.title)
        return arranged(graph.done(identity))


def _sockets(box: Json) -> list[str]:
    return [slot["name"] for slot in box["nodes"][0]["inputs"]]


TEMPLATES: Mapping[str, Callable[[Composer, str], Json]] = {
    "Try it now - X2Edit": lambda c, key: c.try_now(_TRY_X2EDIT, notes.TRY_X2EDIT, "tone", 1, key),
    "Try it now - ICEdit": lambda c, key: c.try_now(_TRY_ICEDIT, notes.TRY_ICEDIT, "tone", 3, key),
    "Try it now - Training": lambda c, key: c.all_nodes(teach, notes.TEACH, key),
    "Image Edit (X2Edit)": lambda c, key: c.one_box(X2EDIT, notes.X2EDIT, "x2edit/edit", False, key),
    "Image Edit (ICEdit)": lambda c, key: c.one_box(ICEDIT, notes.ICEDIT, "x2edit/icedit", False, key),
    "Only here (X2Edit)": lambda c, key: c.one_box(X2EDIT, notes.ONLY_X2EDIT, "x2edit/only_here", True, key),
    "Only here (ICEdit)": lambda c, key: c.one_box(ICEDIT, notes.ONLY_ICEDIT, "x2edit/only_here", True, key),
    "Qwen-Image (all nodes)": lambda c, key: c.all_nodes(_QWEN, notes.QWEN, key),
    "Qwen-Image 8 steps (all nodes)": lambda c, key: c.all_nodes(_QWEN_LIGHTNING, notes.QWEN_LIGHTNING, key),
    "Edit like a picture (all nodes)": lambda c, key: c.all_nodes(edit_like_a_picture, notes.PICTURE, key),
}


def with_note(workflow: Json, note: notes.Note) -> Json:
    """A graph that was put together by hand, with its note and laid out."""
    (shown,) = (node for node in workflow["nodes"] if node["type"] == "MarkdownNote")
    shown |= {"title": note.title, "widgets_values": [note.english]}
    return arranged(workflow)


def text_of(workflow: Json) -> str:
    return json.dumps(workflow, indent=1, ensure_ascii=False) + "\n"


def write_words() -> None:
    """Put the Chinese notes where the page finds its words."""
    path = REPO / "locales" / "zh" / "main.json"
    words = json.loads(path.read_text(encoding="utf-8"))
    graphs = words["x2edit"]["graphs"]
    words["x2edit"]["graphs"] = {key: value for key, value in graphs.items() if "\n" not in key}
    for note in (*notes.ALL, *graph_notes.BY_TEMPLATE.values()):
        words["x2edit"]["graphs"] |= {note.title: note.chinese_title, note.english: note.chinese}
    path.write_text(json.dumps(words, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> int:
    write_words()
    host = find_host()
    with Server(host) as server:
        composer = Composer(server.object_info(), host.version)
    for name in TEMPLATES:
        path = WORKFLOWS / f"{name}.json"
        path.write_text(text_of(composer.compose(name)), encoding="utf-8")
        print(path)
    for name, note in graph_notes.BY_TEMPLATE.items():
        path = WORKFLOWS / f"{name}.json"
        path.write_text(text_of(with_note(json.loads(path.read_text(encoding="utf-8")), note)), encoding="utf-8")
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
