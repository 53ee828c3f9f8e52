"""What the instruction asks for, named by hand."""

from __future__ import annotations

from comfy_api.latest import io

from ..x2edit_core.tasks import TASK_NAMES, TaskBatch, TaskChoice
from ..x2edit_core.tasks import Task as TaskName
from .sockets import Task

NO_SECOND_TASK = "none"


class X2EditTask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditTask",
            display_name="X2Edit Task",
            category="X2Edit",
            description="Names the kind of edit, which steers the adapter's experts. Two kinds can be mixed.",
            search_aliases=["x2edit task", "edit type", "intent"],
            inputs=[
                io.Combo.Input(
                    "task", options=list(TASK_NAMES), tooltip="The kind of edit that the instruction asks for."
                ),
                io.Combo.Input(
                    "second_task",
                    options=[NO_SECOND_TASK, *TASK_NAMES],
                    default=NO_SECOND_TASK,
                    optional=True,
                    tooltip="A second kind of edit to mix in, for instructions that ask for two things.",
                ),
                io.Float.Input(
                    "blend",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="Share of the second task: 0 is the first task alone, 1 the second alone.",
                ),
            ],
            outputs=[Task.Output("task", display_name="task", tooltip="Connect to Apply X2Edit Adapter.")],
        )

    @classmethod
    def execute(cls, task: str, second_task: str = NO_SECOND_TASK, blend: float = 0.5) -> io.NodeOutput:
        first = TaskName.from_name(task)
        if second_task == NO_SECOND_TASK:
            return io.NodeOutput(TaskChoice(first))
        return io.NodeOutput(TaskChoice(first, TaskName.from_name(second_task), blend))


class X2EditTaskBatch(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditTaskBatch",
            display_name="X2Edit Task Batch",
            category="X2Edit",
            description="Gives each picture of a batch its own task: picture i uses entry i, starting over when there are "
            "more pictures than entries.",
            search_aliases=["x2edit batch", "task list"],
            inputs=[
                io.Autogrow.Input(
                    "tasks",
                    template=io.Autogrow.TemplatePrefix(
                        Task.Input("task", tooltip="The task of this picture of the batch."),
                        prefix="task",
                        min=1,
                        max=64,
                    ),
                    tooltip="One task per picture of the batch, in order.",
                ),
            ],
            outputs=[Task.Output("task", display_name="task", tooltip="All tasks, for Apply X2Edit Adapter.")],
        )

    @classmethod
    def execute(cls, tasks: io.Autogrow.Type) -> io.NodeOutput:
        return io.NodeOutput(TaskBatch.of(*tasks.values()))


NODES = [X2EditTask, X2EditTaskBatch]
