"""Published layouts, written tiny: every reader finds the pictures, the words and the kind of edit."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from x2edit_core.errors import X2EditError
from x2edit_core.evaluate.cases import Case, CaseError, decoded, decoded_mask
from x2edit_core.evaluate.config import CasesConfig
from x2edit_core.evaluate.readers import READERS, read_cases
from x2edit_core.evaluate.selection import selected
from x2edit_core.tasks import Task

RED, BLUE, WHITE = (200, 10, 10), (10, 10, 200), (255, 255, 255)


def picture(colour=RED, mode="RGB", size=(12, 8)):
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8"))


def write_parquet(path, rows):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(arrow.Table.from_pylist(rows), path)


def cell(data):
    """A picture as Hugging Face's `datasets` stores it."""
    return {"bytes": data, "path": None}


def cases_of(kind, path):
    found = list(read_cases(kind, path))
    assert all(isinstance(case, Case) for case in found), found
    return found


def colour_of(data):
    return tuple((decoded(data, "it")[0, 0, 0] * 255).round().int().tolist())


def test_folder_reads_words_kind_target_and_mask(tmp_path):
    write(tmp_path / "sub" / "a_source.jpg", picture())
    write(tmp_path / "sub" / "a_target.png", picture(BLUE))
    write(tmp_path / "sub" / "a_mask.png", picture(255, "L"))
    write(tmp_path / "sub" / "a.txt", "make it blue\ncolor\n")
    write(tmp_path / "b_source.png", picture())
    write(tmp_path / "b.txt", "remove the dog")
    plain, full = cases_of("folder", tmp_path)
    assert (plain.instruction, plain.label, plain.task, plain.target) == (
        "remove the dog", "remove subject", Task.REMOVE, None,
    )  # fmt: skip
    assert (full.name, full.label, full.task) == ("sub/a", "color", Task.COLOR)
    assert colour_of(full.source()) == RED and colour_of(full.target()) == BLUE
    assert decoded_mask(full.mask(), "it").min() == 1


def test_folder_goes_on_after_an_incomplete_case(tmp_path):
    write(tmp_path / "a_source.png", picture())
    write(tmp_path / "b_source.png", picture())
    write(tmp_path / "b.txt", "remove the dog")
    fault, case = read_cases("folder", tmp_path)
    assert isinstance(fault, CaseError) and "a.txt" in str(fault)
    assert isinstance(case, Case)


def gedit_row(key, language, **changes):
    raw, small = cell(picture(size=(20, 10))), cell(picture(BLUE))
    row = {"task_type": "ps_human", "key": key, "instruction": "smooth her skin", "instruction_language": language,
           "input_image": small, "input_image_raw": raw, "Intersection_exist": True}  # fmt: skip
    return {**row, **changes}


def test_gedit_takes_the_raw_picture_and_its_own_kinds(tmp_path):
    write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", [gedit_row("k1", "en"), gedit_row("k1", "cn")])
    english, chinese = cases_of("gedit", tmp_path)
    assert (english.name, chinese.name) == ("k1 en", "k1 cn")
    assert (english.label, english.task, english.language, chinese.language) == ("ps_human", Task.PORTRAIT, "en", "zh")
    assert colour_of(english.source()) == RED
    config = CasesConfig(kind="gedit", path=str(tmp_path), language="zh")
    assert [case.name for case in selected(config)] == ["k1 cn"]


def test_emu_edit_has_captions_and_tells_its_splits_apart(tmp_path):
    rows = [
        {"instruction": "add a hat", "image": cell(picture()), "task": "add", "split": split, "idx": 7, "hash": "x",
         "input_caption": "a man", "output_caption": "a man with a hat"}
        for split in ("validation", "test")
    ]  # fmt: skip
    write_parquet(tmp_path / "test.parquet", rows)
    first, second = cases_of("emu_edit", tmp_path)
    assert (first.name, second.name) == ("validation add 7", "test add 7")
    assert (first.caption, first.task) == ("a man with a hat", Task.ADD)


def test_magicbrush_parquet_has_targets_and_masks(tmp_path):
    row = {"img_id": "242679", "turn_index": 1, "source_img": cell(picture()), "mask_img": cell(picture((9, 9, 9, 0), "RGBA")),
           "instruction": "put a cat on the seat", "target_img": cell(picture(BLUE))}  # fmt: skip
    write_parquet(tmp_path / "data" / "dev-00000-of-00001.parquet", [row])
    (case,) = cases_of("magicbrush", tmp_path)
    assert case.name == "242679 turn 1"
    assert colour_of(case.target()) == BLUE
    assert decoded_mask(case.mask(), "it").min() == 1, "what is transparent is edited"


def test_magicbrush_test_folder_follows_the_turns(tmp_path):
    names = ("242679-input.png", "242679-mask1.png", "242679-output1.png", "242679-mask2.png", "242679-output2.png")
    for name in names:
        write(tmp_path / "test" / "images" / "242679" / name, picture(BLUE if "output1" in name else RED))
    turns = [
        {"input": names[0], "mask": names[1], "output": names[2], "instruction": "put a cat on the seat"},
        {"input": names[2], "mask": names[3], "output": names[4], "instruction": "remove the cat"},
        {"input": "5-input.png", "mask": "5-mask1.png", "output": "5-output1.png", "instruction": "no pictures"},
        {"input": "6-input.png"},
    ]
    write(tmp_path / "test" / "edit_turns.json", json.dumps(turns))
    write(tmp_path / "test" / "global_descriptions.json", json.dumps({"242679": {names[2]: "a cat on a seat"}}))
    first, second, gone, short = read_cases("magicbrush", tmp_path)
    assert isinstance(first, Case) and isinstance(second, Case)
    assert (first.caption, first.task, second.task) == ("a cat on a seat", Task.ADD, Task.REMOVE)
    assert colour_of(second.source()) == BLUE, "a turn starts from the exact result of the one before"
    assert isinstance(gone, CaseError) and isinstance(short, CaseError)


@pytest.mark.parametrize(
    "listed", ["basic_edit.json", "singleturn/singleturn.json", "Benchmark/singleturn/singleturn.json"]
)
def test_imgedit_finds_its_pictures_wherever_the_list_lies(tmp_path, listed):
    root = "Benchmark/singleturn" if "Benchmark" in listed else "singleturn"
    write(tmp_path / root / "animal" / "000342021.jpg", picture())
    entries = {
        "1082": {"id": "animal/000342021.jpg", "prompt": "Remove the tortoise.", "edit_type": "remove"},
        "1083": {"id": "animal/none.jpg", "prompt": "Remove it.", "edit_type": "remove"},
        "1084": {"id": "animal/000342021.jpg", "edit_type": "remove"},
    }
    write(tmp_path / listed, json.dumps(entries))
    case, gone, wordless = read_cases("imgedit", tmp_path)
    assert isinstance(case, Case)
    assert (case.name, case.label, case.task) == ("1082", "remove", Task.REMOVE)
    assert colour_of(case.source()) == RED
    assert isinstance(gone, CaseError) and "none.jpg" in str(gone)
    assert isinstance(wordless, CaseError) and "prompt" in str(wordless)


DREAMBENCH = """Classes

subject_name,class
dog2,dog
bear_plushie,stuffed animal

Prompts

Object Prompts

prompt_list = [
'a {0} {1} in the jungle'.format(unique_token, class_token),
'a red {0} {1}'.format(unique_token, class_token)
]

Live Subject Prompts

prompt_list = [
'a {0} {1} wearing a red hat'.format(unique_token, class_token)
]
"""


def test_dreambench_gives_each_subject_the_prompts_of_its_sort(tmp_path):
    write(tmp_path / "dataset" / "prompts_and_classes.txt", DREAMBENCH)
    write(tmp_path / "dataset" / "dog2" / "01.jpg", picture(BLUE))
    write(tmp_path / "dataset" / "dog2" / "00.jpg", picture())
    write(tmp_path / "dataset" / "bear_plushie" / "00.jpg", picture())
    cases = cases_of("dreambench", tmp_path)
    assert [(case.name, case.label, case.caption) for case in cases] == [
        ("dog2 00", "live subject", "a dog wearing a red hat"),
        ("bear_plushie 00", "object", "a stuffed animal in the jungle"),
        ("bear_plushie 01", "object", "a red stuffed animal"),
    ]
    assert {case.task for case in cases} == {Task.SUBJECT}
    assert colour_of(cases[0].source()) == RED, "the first picture of the subject"


@pytest.mark.parametrize("kind", sorted(READERS))
def test_a_folder_without_such_data_is_told(tmp_path, kind):
    with pytest.raises(X2EditError, match=r"holds n"):
        list(read_cases(kind, tmp_path))
    with pytest.raises(X2EditError, match="does not exist"):
        list(read_cases(kind, tmp_path / "nowhere"))


def test_parquet_of_another_layout_names_what_is_missing(tmp_path):
    write_parquet(tmp_path / "a.parquet", [{"instruction": "x", "image": cell(picture())}])
    with pytest.raises(
        X2EditError, match=r"no column key, task_type, instruction_language; it has: instruction, image"
    ):
        list(read_cases("gedit", tmp_path))


def test_missing_pyarrow_is_one_clear_error(tmp_path, monkeypatch):
    write(tmp_path / "a.parquet", b"PAR1")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(X2EditError, match="needs the package pyarrow"):
        list(read_cases("gedit", tmp_path))


def test_a_row_without_a_picture_is_that_cases_fault(tmp_path):
    write_parquet(tmp_path / "a.parquet", [gedit_row("k", "en"), gedit_row("l", "en", input_image_raw=None)])
    whole, empty = cases_of("gedit", tmp_path)
    assert whole.source()
    with pytest.raises(CaseError, match="row 1: input_image_raw holds no picture"):
        empty.source()


def test_a_damaged_picture_is_that_cases_fault(tmp_path):
    path = tmp_path / "a.parquet"
    write_parquet(path, [gedit_row("k", "en")])
    group = pytest.importorskip("pyarrow.parquet").ParquetFile(path).metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    (damaged,) = (column for column in columns if column.path_in_schema == "input_image_raw.bytes")
    start = damaged.dictionary_page_offset or damaged.data_page_offset
    data = path.read_bytes()
    path.write_bytes(data[:start] + b"\xff" * 24 + data[start + 24 :])
    (case,) = cases_of("gedit", tmp_path)
    with pytest.raises(CaseError, match="row 0: input_image_raw is damaged"):
        case.source()


def test_limit_counts_each_kind_and_labels_choose(tmp_path):
    for number, (words, label) in enumerate([("a", "color"), ("b", "color"), ("c", "style"), ("d", "tone")]):
        write(tmp_path / f"{number}_source.png", picture())
        write(tmp_path / f"{number}.txt", f"{words}\n{label}")
    config = CasesConfig(kind="folder", path=str(tmp_path), labels=["color", "style"], limit=1)
    assert [case.instruction for case in selected(config)] == ["a", "c"]


@pytest.mark.parametrize("choice", [{"labels": ["colour"]}, {"labels": ["Color"], "limit": 2}])
def test_labels_that_choose_nothing_are_an_error(tmp_path, choice):
    write(tmp_path / "a_source.png", picture())
    write(tmp_path / "a.txt", "make it red\ncolor")
    with pytest.raises(X2EditError, match=r"No case is left.*The data's labels are: color"):
        list(selected(CasesConfig(kind="folder", path=str(tmp_path), **choice)))


@pytest.mark.parametrize("kind", ["jsonl", "webdataset"])
def test_what_training_reads_is_evaluated_too(tmp_path, kind):
    write(tmp_path / "a.png", picture())
    write(tmp_path / "b.png", picture(BLUE))
    row = {"source": "a.png", "target": "b.png", "mask": "b.png", "instruction": "make it blue", "task": "color"}
    write(tmp_path / "data.jsonl", json.dumps(row))
    with tarfile.open(tmp_path / "0.tar", "w") as file:
        parts = {
            "json": json.dumps(row).encode(),
            "1.0.png": picture(),
            "2.png": picture(BLUE),
            "mask.png": picture(BLUE),
        }
        for extension, data in parts.items():
            member = tarfile.TarInfo(f"a.{extension}")
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    (case,) = selected(CasesConfig(kind=kind, path=str(tmp_path)))
    assert (case.label, case.task, colour_of(case.source()), colour_of(case.target())) == (
        "color",
        Task.COLOR,
        RED,
        BLUE,
    )
    assert case.mask() == picture(BLUE)


def test_scenes_are_held_out_and_count_for_each_task():
    cases = list(selected(CasesConfig(labels=["tone", "remove"], limit=2, first_seed=4, size=64, language="zh")))
    assert [case.name for case in cases] == ["tone 4", "tone 5", "remove subject 4", "remove subject 5"]
    assert {(case.scene.split, case.language) for case in cases} == {("heldout", "zh")}
    case = cases[-1]
    assert np.array_equal((decoded(case.target(), "it")[0] * 255).round().byte().numpy(), case.scene.target)
    assert np.array_equal(decoded_mask(case.mask(), "it")[0].bool().numpy(), case.scene.region)


def test_masks_are_holes_or_white():
    hole = Image.new("RGBA", (4, 2), (*RED, 255))
    hole.putpixel((0, 0), (0, 0, 0, 0))
    painted = Image.new("RGB", (4, 2), RED)
    painted.putpixel((0, 0), WHITE)
    grey = Image.new("L", (4, 2), 0)
    grey.putpixel((0, 0), 255)
    for image in (hole, painted, grey):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        mask = decoded_mask(buffer.getvalue(), "it")
        assert mask.shape == (1, 2, 4)
        assert mask.sum() == mask[0, 0, 0] == 1


def test_a_file_that_is_no_picture_is_named():
    with pytest.raises(CaseError, match="the mask is no picture"):
        decoded_mask(b"text", "the mask")
