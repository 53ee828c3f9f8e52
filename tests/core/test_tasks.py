from __future__ import annotations

import pytest

from x2edit_core.errors import X2EditError
from x2edit_core.tasks import TASK_COUNT, TASK_NAMES, Task, TaskBatch, TaskChoice


def test_ids_follow_the_released_table():
    upstream = [
        *("其他", "删除主体", "添加主体", "风格更改", "背景更改", "颜色更改", "材料更改", "动作更改", "替换主体"),
        *("人物修图", "文字更改", "色调变换", "相机移动", "implicit_change", "low_leval", "subject"),
    ]
    assert [task.id for task in Task] == list(range(TASK_COUNT))
    assert [task.chinese for task in Task] == upstream
    assert [Task.from_id(index).english for index in range(TASK_COUNT)] == list(TASK_NAMES)


def test_every_name_leads_back_to_its_task_and_to_no_other():
    for task in Task:
        for name in (task.english, task.chinese, *task.aliases, task.english.upper(), task.english.replace(" ", "_")):
            assert Task.from_name(name) is task


@pytest.mark.parametrize("name", ["", "sharpen", "删", "16"])
def test_unknown_names_are_errors_and_never_other(name):
    with pytest.raises(X2EditError, match="expected one of"):
        Task.from_name(name)


def test_unknown_id_is_an_error():
    with pytest.raises(X2EditError, match="16"):
        Task.from_id(16)


def test_blend_weights_add_up_and_ends_are_pure():
    assert TaskChoice(Task.ADD, Task.STYLE, 0.25).weights() == {2: 0.75, 3: 0.25}
    assert TaskChoice(Task.ADD, Task.STYLE, 0.0).weights() == {2: 1.0}
    assert TaskChoice(Task.ADD, Task.STYLE, 1.0).weights() == {3: 1.0}
    assert TaskChoice(Task.ADD, Task.ADD, 0.5).weights() == {2: 1.0}
    with pytest.raises(X2EditError, match="blend"):
        TaskChoice(Task.ADD, Task.STYLE, 1.5)


@pytest.mark.parametrize(
    ("entries", "rows", "chunks", "expected"),
    [
        (1, 4, 1, (0, 0, 0, 0)),
        (2, 4, 1, (0, 1, 0, 1)),
        (2, 4, 2, (0, 1, 0, 1)),
        (2, 6, 2, (0, 1, 0, 0, 1, 0)),
        (3, 4, 2, (0, 1, 0, 1)),
        (2, 3, 2, (0, 1, 0)),
    ],
)
def test_rows_use_entries_in_turn_within_each_half(entries, rows, chunks, expected):
    batch = TaskBatch(tuple(TaskChoice(Task.from_id(index)) for index in range(entries)))
    assert batch.row_entries(rows, chunks) == expected


@pytest.mark.parametrize(
    ("rows", "chunks", "pictures", "expected"),
    [
        (4, 2, 2, (0, 1, 0, 1)),
        (2, 2, 2, (0, 1)),
        (3, 2, 3, (0, 1, 2)),
        (1, 2, 1, (0,)),
        (2, 2, 1, (0, 0)),
        (4, 2, 7, (0, 1, 0, 1)),
    ],
)
def test_one_half_at_a_time_is_known_by_the_number_of_pictures(rows, chunks, pictures, expected):
    batch = TaskBatch(tuple(TaskChoice(Task.from_id(index)) for index in range(3)))
    assert batch.row_entries(rows, chunks, pictures) == expected


def test_batches_flatten():
    one, two = TaskChoice(Task.ADD), TaskBatch((TaskChoice(Task.STYLE), TaskChoice(Task.TEXT)))
    assert TaskBatch.of(two, one).entries == (*two.entries, one)
    with pytest.raises(X2EditError):
        TaskBatch(())
