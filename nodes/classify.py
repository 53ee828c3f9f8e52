"""What the instruction asks for, found from its wording or by a language model."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..x2edit_core.chat import Chat as ChatModel
from ..x2edit_core.comfy_bridge import admitted
from ..x2edit_core.comfy_bridge.notices import harmless, say_once, show_on_node
from ..x2edit_core.pixels import to_rgb
from ..x2edit_core.tasks import TASK_NAMES, TaskChoice
from ..x2edit_core.tasks import Task as TaskName
from .sockets import Chat, Task

AUTOMATIC = "automatic"


class X2EditClassify(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditClassify",
            display_name="X2Edit Classify Instruction",
            category="X2Edit",
            description="Finds which of the sixteen tasks an instruction asks for. Without a language model it reads English "
            "and Chinese wording itself; whatever stays unclear becomes `other`, and the node says so.",
            search_aliases=[
                "x2edit classifier",
                "intent",
                "detect task",
                "auto task",
                "edit type",
                "编辑",
                "指令分类",
                "任务",
            ],
            inputs=[
                io.String.Input("instruction", multiline=True, tooltip="What to change, in English or Chinese."),
                Chat.Input(
                    "chat",
                    optional=True,
                    tooltip="A language model to ask instead. If it fails, the built-in reader answers and the node says so.",
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The picture to edit, shown to models that can see. The built-in reader does not look at it.",
                ),
                io.Float.Input(
                    "minimum_confidence",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="A less certain answer becomes `other`, with a warning. 0 always takes the best guess.",
                ),
                io.String.Input(
                    "trigger_words",
                    default="",
                    optional=True,
                    tooltip="Trigger words of style LoRAs in the instruction, comma-separated. The classifier never sees them.",
                ),
                io.Combo.Input(
                    "task",
                    options=[AUTOMATIC, *TASK_NAMES],
                    default=AUTOMATIC,
                    optional=True,
                    tooltip="automatic: found from the instruction. Or name the kind of edit yourself, where that goes wrong.",
                ),
            ],
            outputs=[
                Task.Output("task", display_name="task", tooltip="Connect to Apply X2Edit Adapter."),
                io.String.Output("name", display_name="name", tooltip="The task's English name."),
                io.Float.Output(
                    "confidence", display_name="confidence", tooltip="How certain the answer is, from 0 to 1."
                ),
                io.String.Output(
                    "report", display_name="report", tooltip="The reasons, or the language model's raw reply."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        instruction: str,
        chat: ChatModel | None = None,
        image: Any = None,
        minimum_confidence: float = 0.5,
        trigger_words: str = "",
        task: str = AUTOMATIC,
    ) -> io.NodeOutput:
        if task != AUTOMATIC:
            chosen = TaskName.from_name(task)
            shown = f"{chosen.english} (chosen by hand)"
            show_on_node(shown, cls.hidden.unique_id)
            return io.NodeOutput(TaskChoice(chosen), chosen.english, 1.0, shown, ui=ui.PreviewText(shown))
        # Its word lists and weights take a fifth of a second to load, which the server's start need not wait for.
        from ..x2edit_core.classify import classify

        picture = None if image is None else to_rgb(admitted.picture(image))[0]
        found = classify(instruction, chat, picture, minimum_confidence, trigger_words)
        shown = f"{found.task.english} ({found.confidence:.2f})"
        if found.warning:
            say_once(f"classify: {instruction}: {found.warning}", f"Classifier: {found.warning}")
        show_on_node(shown, cls.hidden.unique_id)
        preview = harmless("\n".join(filter(None, (shown, found.warning))))
        name = found.task.english
        return io.NodeOutput(TaskChoice(found.task), name, found.confidence, found.report, ui=ui.PreviewText(preview))


NODES = [X2EditClassify]
