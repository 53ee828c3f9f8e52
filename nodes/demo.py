"""The embedded models and pictures for them: a first edit without a download."""

from __future__ import annotations

from comfy_api.latest import io

from ..x2edit_core.miniature import BASES
from ..x2edit_core.miniature.lessons import LESSONS, lesson_named
from ..x2edit_core.pixels import from_bytes
from ..x2edit_core.scenes import TASKS, Language, make_case
from ..x2edit_core.tasks import Task as TaskName
from ..x2edit_core.tasks import TaskChoice
from .sockets import Task

_LANGUAGES = ("en", "zh")
_NO_LESSON = "none"


class X2EditDemoModels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditDemoModels",
            display_name="X2Edit Demo Models",
            category="X2Edit/demo",
            description=(
                "Very small FLUX and Qwen-Image models that come with this pack, so that every workflow runs without "
                "a download. Replace this node by your own model, CLIP and VAE loaders for real pictures."
            ),
            search_aliases=[
                "x2edit",
                "tiny flux",
                "example models",
                "embedded models",
                "test models",
                "演示",
                "示例模型",
            ],
            inputs=[
                io.Combo.Input(
                    "base",
                    options=list(BASES),
                    default="x2edit",
                    tooltip="x2edit: text-to-image FLUX, for X2Edit's adapter. fill: FLUX Fill, for ICEdit's adapter. "
                    "qwen: Qwen-Image for pictures of 64 pixels, for X2Edit's adapter for it.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The model, of ComfyUI's own class."),
                io.Clip.Output(display_name="clip", tooltip="A small text encoder that reads English and Chinese."),
                io.Vae.Output(
                    display_name="vae", tooltip="A small autoencoder with 16 latent channels, of the model's kind."
                ),
            ],
        )

    @classmethod
    def execute(cls, base: str) -> io.NodeOutput:
        from ..x2edit_core.comfy_bridge.miniature import load_demo_models

        return io.NodeOutput(*load_demo_models(base))


class X2EditDemoScene(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditDemoScene",
            display_name="X2Edit Demo Scene",
            category="X2Edit/demo",
            description="Draws a small picture, an instruction for it and the exact answer: something to edit with the "
            "embedded models, and to hold an edit against. The scenes are ones that the embedded models never saw.",
            search_aliases=[
                "x2edit",
                "example picture",
                "test scene",
                "procedural picture",
                "示例",
                "测试图片",
                "演示",
                "编辑",
            ],
            inputs=[
                io.Combo.Input(
                    "task",
                    options=[task.english for task in TASKS],
                    default=TaskName.REMOVE.english,
                    tooltip="The kind of edit that the instruction asks for. The embedded models do removals, tones and "
                    "styles best.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Another seed, another picture. The same seed draws the same one on every machine.",
                ),
                io.Combo.Input(
                    "language",
                    options=list(_LANGUAGES),
                    default="en",
                    optional=True,
                    advanced=True,
                    tooltip="The language of the instruction, English or Chinese.",
                ),
                io.Combo.Input(
                    "lesson",
                    options=[_NO_LESSON, *LESSONS],
                    default=_NO_LESSON,
                    optional=True,
                    advanced=True,
                    tooltip="An edit that the embedded models have not learnt, in place of the task's own: something to teach "
                    "them with Train X2Edit Adapter, whose setting data.lesson has the same names.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "image", display_name="image", tooltip="The picture before the edit, 128 × 128 pixels."
                ),
                io.String.Output("instruction", display_name="instruction", tooltip="What to change."),
                io.Image.Output("target", display_name="target", tooltip="The exact answer."),
                Task.Output("task", display_name="task", tooltip="The kind of edit, for Apply X2Edit Adapter."),
            ],
        )

    @classmethod
    def execute(cls, task: str, seed: int, language: Language = "en", lesson: str = _NO_LESSON) -> io.NodeOutput:
        asked = TaskName.from_name(task)
        case = make_case(seed, asked, "heldout", language=language)
        if lesson != _NO_LESSON:
            new = lesson_named(lesson)
            target = from_bytes(new.apply(case.source))
            return io.NodeOutput(from_bytes(case.source), new.instruction, target, TaskChoice(new.task))
        return io.NodeOutput(from_bytes(case.source), case.instruction, from_bytes(case.target), TaskChoice(asked))


NODES = [X2EditDemoModels, X2EditDemoScene]
