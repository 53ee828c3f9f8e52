"""What an instruction can ask for: X2Edit's sixteen tasks, in the order its embedding table was trained with.

Ids and Chinese names are facts of the released checkpoint (upstream `src/custom_dataset_1024.py`, `infer.py`); row 0
is a trained task of its own, `other`, and is shown to the user rather than used as a silent fallback.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .errors import X2EditError

TASK_COUNT = 16


@dataclass(frozen=True)
class TaskTraits:
    """The row of the task table, the names a person reads, and other words that mean the same."""

    id: int
    english: str
    chinese: str
    aliases: tuple[str, ...]


class Task(Enum):
    """One of the sixteen tasks; `Task.REMOVE.id` is its row in the task embedding table."""

    OTHER = TaskTraits(0, "other", "其他", ("unknown", "none", "未知", "other edits"))
    REMOVE = TaskTraits(
        1, "remove subject", "删除主体", ("remove", "subject deletion", "delete", "removal", "erase", "删除")
    )
    ADD = TaskTraits(2, "add subject", "添加主体", ("add", "subject addition", "addition", "insert", "添加", "增加"))
    STYLE = TaskTraits(3, "style", "风格更改", ("style transfer", "style change", "stylize", "风格", "风格迁移"))
    BACKGROUND = TaskTraits(4, "background", "背景更改", ("background change", "change background", "背景", "背景替换"))
    COLOR = TaskTraits(5, "color", "颜色更改", ("color change", "colour", "colour change", "recolor", "颜色"))
    MATERIAL = TaskTraits(6, "material", "材料更改", ("material change", "texture", "材质", "材料", "材质更改"))
    ACTION = TaskTraits(7, "action", "动作更改", ("motion", "motion change", "action change", "pose", "动作"))
    REPLACE = TaskTraits(8, "replace subject", "替换主体", ("replace", "subject replacement", "swap", "替换"))
    PORTRAIT = TaskTraits(
        9, "portrait retouch", "人物修图", ("portrait", "portrait editing", "retouch", "人像", "人像修图")
    )
    TEXT = TaskTraits(10, "text", "文字更改", ("text change", "text editing", "文字", "文本"))
    TONE = TaskTraits(11, "tone", "色调变换", ("tone transformation", "tone transfer", "lighting", "色调"))
    CAMERA = TaskTraits(12, "camera", "相机移动", ("camera movement", "viewpoint", "zoom", "相机", "视角"))
    REASONING = TaskTraits(13, "reasoning", "implicit_change", ("implicit change", "implicit", "推理", "复杂推理"))
    LOW_LEVEL = TaskTraits(
        14, "low level", "low_leval", ("low_level", "image conversion", "canny", "depth", "底层视觉")
    )
    SUBJECT = TaskTraits(15, "subject", "subject", ("subject-driven", "personalization", "personalisation", "主体驱动"))

    @property
    def id(self) -> int:
        """Row in the task embedding table, 0 to 15."""
        return self.value.id

    @property
    def english(self) -> str:
        return self.value.english

    @property
    def chinese(self) -> str:
        """The class name upstream's classifier answers with; three of them are not Chinese there either."""
        return self.value.chinese

    @property
    def aliases(self) -> tuple[str, ...]:
        return self.value.aliases

    @classmethod
    def from_id(cls, task_id: int) -> Task:
        """The task with this id; raises `X2EditError` outside 0–15."""
        for task in cls:
            if task.id == task_id:
                return task
        raise X2EditError(f"Task id {task_id} does not exist; ids run from 0 (other) to {TASK_COUNT - 1}.")

    @classmethod
    def from_name(cls, name: str) -> Task:
        """The task called `name` in English, Chinese or by an alias; case, `_` and `-` do not matter.

        Raises `X2EditError` for an unknown name: an unreadable answer must not become task 0 unseen.
        """
        wanted = _normalise(name)
        for task in cls:
            if wanted in map(_normalise, (task.english, task.chinese, *task.aliases)):
                return task
        known = ", ".join(task.english for task in cls)
        raise X2EditError(f"Task {name!r} is not known; expected one of: {known}.")


TASK_NAMES: tuple[str, ...] = tuple(task.english for task in Task)
"""English names in id order: the option order of the `X2EditTask` node."""


@dataclass(frozen=True)
class TaskChoice:
    """What one picture's instruction asks for: a task, or two mixed as (1 - blend) · task + blend · second."""

    task: Task
    second: Task | None = None
    blend: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.blend <= 1.0:
            raise X2EditError(f"Task blend {self.blend} found; a value from 0 (first task) to 1 (second) is needed.")

    def weights(self) -> dict[int, float]:
        """Task id → share in the mixed embedding; shares add up to 1."""
        if self.second is None or self.second is self.task or self.blend == 0.0:
            return {self.task.id: 1.0}
        if self.blend == 1.0:
            return {self.second.id: 1.0}
        return {self.task.id: 1.0 - self.blend, self.second.id: self.blend}


@dataclass(frozen=True)
class TaskBatch:
    """Choices for the rows of a batch: row i uses entry i modulo their number, so a single entry serves all rows."""

    entries: tuple[TaskChoice, ...]

    def __post_init__(self) -> None:
        if not self.entries:
            raise X2EditError("A task batch needs at least one task.")

    @classmethod
    def of(cls, *parts: TaskChoice | TaskBatch) -> TaskBatch:
        """One batch from choices and batches, in order."""
        return cls(
            tuple(entry for part in parts for entry in (part.entries if isinstance(part, TaskBatch) else (part,)))
        )

    def row_entries(self, rows: int, chunks: int, pictures: int = 0) -> tuple[int, ...]:
        """Entry index for each of `rows` rows made of `chunks` equal parts (the host stacks conditioned and
        unconditioned halves in one forward; both halves hold the same pictures).

        `pictures`, where known, is how many are sampled: it tells a single part from `chunks` of them, as some
        wrappers evaluate the halves apart and still report both.
        """
        return entries_of_rows(len(self.entries), rows, chunks, pictures)


def entries_of_rows(entries: int, rows: int, chunks: int, pictures: int = 0) -> tuple[int, ...]:
    """Which of `entries`, one for each picture in turn, each row takes: see `TaskBatch.row_entries`."""
    per_chunk = _rows_per_chunk(rows, max(chunks, 1), pictures)
    return tuple((row % per_chunk) % entries for row in range(rows))


def _rows_per_chunk(rows: int, chunks: int, pictures: int) -> int:
    if rows in (pictures, pictures * chunks):
        return max(pictures, 1)
    return rows if rows % chunks else max(rows // chunks, 1)


def _normalise(name: str) -> str:
    return name.strip().lower().replace("_", " ").replace("-", " ")
