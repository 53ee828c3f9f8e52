"""Who says which of two edits is better: a vision model, or a person in the page."""

from __future__ import annotations

from comfy_api.latest import io

from ..x2edit_core.chat import Chat as ChatModel
from ..x2edit_core.choosing.judge import Judge as AnyJudge
from ..x2edit_core.choosing.profiles import PLAIN, PROFILES, ComposedJudge
from ..x2edit_core.comfy_bridge.picker import human_judge
from .sockets import Chat, Judge

ALIASES = ["x2edit", "vlm judge", "early filter", "best of n", "pick best", "compare edits"]


def _output() -> io.Output:
    return Judge.Output("judge", display_name="judge", tooltip="For X2Edit Early Filter.")


class X2EditJudge(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditJudge",
            display_name="X2Edit Judge",
            category="X2Edit/selection",
            description="Lets a vision model compare edits with their source and say which one is better. If it cannot "
            "answer, the earlier candidate stays, and the report says so.",
            search_aliases=[*ALIASES, "评审", "挑选"],
            inputs=[
                Chat.Input("chat", tooltip="A model that sees pictures, such as Qwen3-VL. Large ones judge better."),
                io.Boolean.Input(
                    "debias",
                    default=True,
                    tooltip="Ask about each pair in both orders; if the answers contradict each other, it is a tie. Costs "
                    "twice as many questions.",
                ),
                io.String.Input(
                    "criteria",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="What else the better edit should be, in your own words. May stay empty.",
                ),
                io.Combo.Input(
                    "profile",
                    options=list(PROFILES),
                    default=PLAIN,
                    optional=True,
                    advanced=True,
                    tooltip="How a model that was trained as a judge of edits is asked and read. as it is: for Qwen-VL and "
                    "every other vision model. PVC-Judge judges consistency alone.",
                ),
                Judge.Input(
                    "consistency",
                    optional=True,
                    tooltip="A second judge, such as PVC-Judge, that decides where this one finds neither edit better.",
                ),
            ],
            outputs=[_output()],
        )

    @classmethod
    def execute(
        cls,
        chat: ChatModel,
        debias: bool = True,
        criteria: str = "",
        profile: str = PLAIN,
        consistency: AnyJudge | None = None,
    ) -> io.NodeOutput:
        judge = PROFILES[profile].make(chat, debias, criteria)
        return io.NodeOutput(judge if consistency is None else ComposedJudge(judge, consistency))


class X2EditHumanJudge(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditHumanJudge",
            display_name="X2Edit Human Judge",
            category="X2Edit/selection",
            description="Pauses the run and shows the candidates as cards in the page that queued it; the one you click is "
            "finished. A reloaded page shows them again.",
            search_aliases=[*ALIASES, "choose by hand", "pause", "image picker", "manual selection", "人工", "挑选"],
            inputs=[
                io.Float.Input(
                    "timeout",
                    default=120.0,
                    min=0.0,
                    max=86400.0,
                    step=1.0,
                    tooltip="Seconds until the first candidate is taken without you; 0 waits while your page is there.",
                ),
            ],
            outputs=[_output()],
        )

    @classmethod
    def execute(cls, timeout: float) -> io.NodeOutput:
        return io.NodeOutput(human_judge(timeout))


NODES = [X2EditJudge, X2EditHumanJudge]
