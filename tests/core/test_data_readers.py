"""Data as people have it, in layouts, systems and states of all kinds: read, or left out with its true file and reason."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import tarfile

import numpy as np
import pytest
from PIL import Image

from x2edit_core.data.pairs import Pair, SampleError
from x2edit_core.data.readers import detect, existing, nothing_usable, read
from x2edit_core.errors import X2EditError
from x2edit_core.evaluate.readers import read_cases
from x2edit_core.tasks import Task
from x2edit_core.train.sources import detect_kind, entries


def picture(seed, size=(24, 16)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))


def save(path, seed=0, size=(24, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed, size).save(path)
    return path


def write(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


def png(seed=0):
    buffer = io.BytesIO()
    picture(seed).save(buffer, "PNG")
    return buffer.getvalue()


def items_of(kind, path):
    found = list(read(kind, path))
    return [item for item in found if isinstance(item, Pair)], [
        str(item) for item in found if isinstance(item, SampleError)
    ]


def write_pair(folder, name="a", words="remove the dog", source="png", target="png"):
    save(folder / f"{name}_source.{source}", 1)
    save(folder / f"{name}_target.{target}", 2)
    write(folder / f"{name}.txt", words)


# --- folders -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "target", "words"), [
    ("PNG", "PNG", "TXT"), ("jpg", "Png", "txt"), ("gif", "tiff", "txt"), ("JPG", "TIF", "Txt"), ("webp", "bmp", "txt"),
])  # fmt: skip
def test_suffixes_of_any_case_and_every_format(tmp_path, source, target, words):
    left_dark = Image.fromarray(np.repeat(np.array([[40, 200]], np.uint8), 8, 1).repeat(8, 0))
    for part, suffix in (("source", source), ("target", target)):
        left_dark.convert("RGB").save(tmp_path / f"a_{part}.{suffix}")
    write(tmp_path / f"a.{words}", "remove the dog")
    (pair,), told = items_of("folder", tmp_path)
    assert not told and pair.target is not None
    for pixels in pair.pictures():
        assert np.abs(pixels.astype(int) - np.asarray(left_dark)[..., None]).max() < 10


@pytest.mark.parametrize("names", [("source", "target"), ("Input", "Output"), ("before", "after")])
@pytest.mark.parametrize("words", ["target/0.txt", "source/0.txt", "0.txt", "instructions/0.txt", "Prompts/0.TXT"])
def test_two_folders_hold_the_parts_of_pairs_of_one_name(tmp_path, names, words):
    """At any depth, whatever their formats, with the words where people put them."""
    for part, folder in zip(("source", "target"), names, strict=True):
        words = words.replace(f"{part}/", f"{folder}/")
        save(tmp_path / "set" / folder / ("0.png" if part == "source" else "0.PNG"), ("source", "target").index(part))
    write(tmp_path / "set" / words, "make it blue\ncolor")
    (pair,), told = items_of("folder", tmp_path)
    assert (told, pair.instruction, pair.task) == ([], "make it blue", Task.COLOR)
    assert [np.array_equal(pixels, picture(seed)) for seed, pixels in enumerate(pair.pictures())] == [True, True]
    assert detect_kind(tmp_path) == "folder"


def test_folders_within_the_two_folders_keep_names_apart(tmp_path):
    for number, sub in enumerate(("x", "y")):
        save(tmp_path / "source" / sub / "0.png", number)
        save(tmp_path / "target" / sub / "0.png", number + 2)
        write(tmp_path / "target" / sub / "0.txt", f"make it {sub}")
    pairs, told = items_of("folder", tmp_path)
    assert [(pair.name, pair.instruction) for pair in pairs] == [
        ("x/0", "make it x"),
        ("y/0", "make it y"),
    ] and not told
    assert [np.array_equal(pair.pictures()[1], picture(number + 2)) for number, pair in enumerate(pairs)] == [
        True,
        True,
    ]


def test_whole_pairs_in_a_folder_called_input_stay_pairs(tmp_path):
    write_pair(tmp_path / "input", "a")
    write_pair(tmp_path / "output", "b")
    pairs, told = items_of("folder", tmp_path)
    assert [pair.name for pair in pairs] == ["input/a", "output/b"] and not told


@pytest.mark.parametrize("junk", [".ipynb_checkpoints/a_source.png", "@eaDir/a_source.png", "__MACOSX/a_source.png",
                                  "._a_source.png", ".hidden_source.png", "#recycle/b_source.png"])  # fmt: skip
def test_what_systems_leave_is_no_data(tmp_path, junk):
    write_pair(tmp_path)
    save(tmp_path / junk, 9)
    write_pair(tmp_path / ".ipynb_checkpoints", "b")
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini"):
        write(tmp_path / name, b"\0")
    pairs, told = items_of("folder", tmp_path)
    assert [pair.name for pair in pairs] == ["a"] and told == []


def test_a_data_folder_may_itself_be_hidden(tmp_path):
    write_pair(tmp_path / ".data" / "__MACOSX")
    assert len(items_of("folder", tmp_path / ".data" / "__MACOSX")[0]) == 1


FAULTS = {
    "two sources": (lambda f: save(f / "a_source.jpg", 3), r"a_source\.jpg and a_source\.png have one target"),
    "two targets": (lambda f: save(f / "a_target.webp", 3), r"a_target\.png and a_target\.webp have one source"),
    "no source": (lambda f: (f / "a_source.png").unlink(), r"a_target\.png: its source is missing.*a_source in"),
    "no words": (lambda f: (f / "a.txt").unlink(), r"a_source\.png: there is no a\.txt with the instruction"),
    "blank words": (lambda f: write(f / "a.txt", " \n\n"), r"a\.txt: the instruction is empty"),
    "gbk": (lambda f: write(f / "a.txt", "把天空变成橙色", "gbk"), r"a\.txt is no text.*GBK"),
    "a foreign source": (lambda f: (f / "a_source.png").rename(f / "a_source.heic"), r"a_source\.heic.*not read"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_incomplete_pair_is_told_by_its_own_file(tmp_path, fault):
    write_pair(tmp_path)
    write_pair(tmp_path, "whole")
    change, expected = FAULTS[fault]
    change(tmp_path)
    pairs, told = items_of("folder", tmp_path)
    assert [pair.name for pair in pairs] == ["whole"]
    assert len(told) == 1 or fault == "no words"
    assert re.search(expected, told[0])


def test_files_that_belong_to_no_pair_are_told(tmp_path):
    write_pair(tmp_path)
    save(tmp_path / "preview.png")
    write(tmp_path / "notes.txt", "buy milk")
    write(tmp_path / "photo.avif", b"x")
    write(tmp_path / "readme.md", "x")
    _, told = items_of("folder", tmp_path)
    assert [text.split(":")[0].rpartition("/")[2] for text in told] == ["photo.avif", "preview.png", "notes.txt"]


def test_texts_that_disagree_are_refused_and_those_of_instructions_win(tmp_path):
    for part in ("source", "target"):
        save(tmp_path / part / "0.png")
        write(tmp_path / part / "0.txt", f"a picture of the {part}")
    assert "say different things" in items_of("folder", tmp_path)[1][0]
    write(tmp_path / "instructions" / "0.txt", "make it blue")
    assert items_of("folder", tmp_path)[0][0].instruction == "make it blue"


# --- pictures of a pair ------------------------------------------------------------------------------------------


def report(kind, path):
    told = []
    found = list(entries(kind, path, told.append))
    for pair in found:
        try:
            pair.pictures()
        except SampleError as error:
            told.append(error)
    return found, [(str(error), error.reason) for error in told]


@pytest.mark.parametrize("part", ["source", "target"])
def test_the_picture_that_is_damaged_is_blamed(tmp_path, part):
    write_pair(tmp_path)
    file = tmp_path / f"a_{part}.png"
    file.write_bytes(file.read_bytes()[:-400])
    ((text, reason),) = report("folder", tmp_path)[1]
    assert text.startswith(str(file)) and reason == "damaged or foreign picture"


@pytest.mark.parametrize(
    ("size", "refused"), [((16, 24), True), ((24, 18), True), ((48, 32), False), ((49, 32), False)]
)
def test_a_target_of_another_shape_is_refused_and_of_another_size_is_not(tmp_path, size, refused):
    write_pair(tmp_path)
    save(tmp_path / "a_target.png", 2, size)
    (pair,), told = report("folder", tmp_path)
    assert bool(told) == refused
    if refused:
        assert f"{size[0]} × {size[1]}, and its source" in told[0][0] and "24 × 16" in told[0][0]
    else:
        assert pair.pictures()[1].shape == (16, 24, 3)
        assert bool(pair.examined().notes) == (size == (49, 32)), "a little stretch is told"


def test_training_tells_the_target_that_it_looked_for(tmp_path):
    write_pair(tmp_path)
    (tmp_path / "a_target.png").unlink()
    found, ((text, reason),) = report("folder", tmp_path)
    assert not found and "a_target" in text and reason == "no target"
    assert next(read_cases("folder", tmp_path)).target is None, "an evaluation needs none"


# --- lines of JSON -----------------------------------------------------------------------------------------------


def write_lines(folder, rows, encoding="utf-8", name="data.jsonl"):
    save(folder / "a.png", 1)
    save(folder / "b.png", 2)
    rows = [{"source": "a.png", "target": "b.png", **row} for row in rows]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    return write(folder / name, text, encoding)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_lines_are_read_in_every_unicode(tmp_path, encoding):
    path = write_lines(
        tmp_path, [{"instruction": "把狗删掉\u2028now"}, {"instruction": "make it red", "task": "颜色"}], encoding
    )
    pairs, told = items_of("jsonl", path)
    assert [pair.instruction for pair in pairs] == ["把狗删掉\u2028now", "make it red"] and not told


@pytest.mark.parametrize("value", [None, ["x"], 3, {"en": "x"}, "", True])
def test_a_value_that_is_no_text_is_left_out_with_its_line(tmp_path, value):
    path = write_lines(tmp_path, [{"instruction": "make it red"}, {"instruction": value}])
    pairs, (told,) = items_of("jsonl", path)
    assert len(pairs) == 1 and told.startswith(f"{path}, line 2: the instruction")


def test_only_the_lines_in_another_encoding_are_lost(tmp_path):
    path = write_lines(tmp_path, [{"instruction": "make it red"}])
    path.write_bytes(path.read_bytes() + b"\n" + '{"source": "a.png", "instruction": "把狗删掉"}'.encode("gbk"))
    pairs, (told,) = items_of("jsonl", path)
    assert len(pairs) == 1 and "line 2 is no text" in told and "GBK" in told


def test_paths_of_another_system_and_unknown_labels(tmp_path):
    save(tmp_path / "sub" / "c.png")
    path = write_lines(tmp_path, [{"source": "sub\\c.png", "instruction": "remove it", "task": "zauber"},
                                  {"source": "..\\x.png", "instruction": "x"}, {"source": "C:\\c.png", "instruction": "x"},
                                  {"source": 5, "instruction": "x"}])  # fmt: skip
    (pair,), told = items_of("jsonl", path)
    assert (pair.task, pair.found, pair.label) == (Task.REMOVE, "unknown", "zauber")
    assert len(told) == 3 and all(f"line {number}: source" in text for number, text in enumerate(told, 2))


def test_foreign_keys_are_listed(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"image": "a.png", "edited": "b.png", "text": "x"}')
    _, (told,) = items_of("jsonl", path)
    assert "has no source and no instruction; it has: image, edited, text" in told


def test_one_json_list_and_a_folder_of_lines_are_read_too(tmp_path):
    write_lines(tmp_path, [{"instruction": "make it red"}])
    assert len(items_of("jsonl", tmp_path)[0]) == 1
    listed = write(tmp_path / "list.json", json.dumps([{"source": "a.png", "target": "b.png", "instruction": "x"}]))
    assert len(items_of("jsonl", listed)[0]) == 1


# --- tars --------------------------------------------------------------------------------------------------------


def write_tar(path, members, form="w"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, form) as file:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))


def sample(told, key="a", source="1.0.jpg", target="2.jpg"):
    told = told if isinstance(told, bytes) else json.dumps(told).encode()
    return {f"{key}.json": told, f"{key}.{source}": png(1), f"{key}.{target}": png(2)}


TOLD = {
    "task beside its teacher": ({"instruction": "x", "label": "step1x", "task": "color"}, "x", Task.COLOR),
    "a null beside Chinese": ({"instruction": None, "instruction_zh": "把狗删掉"}, "把狗删掉", Task.REMOVE),
    "English alone": ({"instruction_en": "remove the dog"}, "remove the dog", Task.REMOVE),
    "a mark": (json.dumps({"instruction": "remove the dog"}).encode("utf-8-sig"), "remove the dog", Task.REMOVE),
    "UTF-16": (json.dumps({"instruction": "remove the dog"}).encode("utf-16"), "remove the dog", Task.REMOVE),
}


@pytest.mark.parametrize("case", TOLD)
def test_a_tars_json_is_understood(tmp_path, case):
    told, words, task = TOLD[case]
    write_tar(tmp_path / "teacher" / "0" / "00000.tar", sample(told))
    (pair,), faults = items_of("webdataset", tmp_path)
    assert (pair.instruction, pair.task, faults) == (words, task, [])


@pytest.mark.parametrize(("told", "reason"), [
    ({"instruction": ["x"]}, "the instruction is a list"), ({"instruction": 5}, "the instruction is a number"),
    ({"instruction": None}, "the instruction is null"), ({"caption": "x"}, "has no instruction; it has: caption"),
    ([1], "holds no table"), ("把狗".encode("gbk"), "GBK"), (b"{", "cannot be read"),
])  # fmt: skip
def test_a_tars_json_that_says_nothing_is_told_with_its_member(tmp_path, told, reason):
    write_tar(tmp_path / "0.tar", sample(told))
    pairs, (text,) = items_of("webdataset", tmp_path)
    assert not pairs and f"{tmp_path / '0.tar'}, a.json" in text and reason in text


def test_texts_doubled_dots_and_what_systems_pack_along(tmp_path):
    members = {**sample({}, source=".1.jpg"), "a.txt": "remove it\ncolor".encode("utf-16"), "a.mask.png": png(3)}
    del members["a.json"]
    junk = {"__MACOSX/._a.json": b"x", "._a.txt": b"x", "__MACOSX/b.json": b"{}"}
    write_tar(tmp_path / "0.tgz", {**junk, **members}, "w:gz")
    (pair,), told = items_of("webdataset", tmp_path)
    assert (pair.instruction, pair.task, told) == ("remove it", Task.COLOR, [])
    assert pair.mask() == png(3) and pair.target() == png(2)


@pytest.mark.parametrize(("data", "told"), [
    (b"PK\x03\x04", "a zip file"), (b"\x28\xb5\x2f\xfd", "compressed by zstd"), (b"<!DOCTYPE html>", "a web page"),
    (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"), (b"\x1f\x8bxx", "no whole tar"), (b"", "no whole tar"),
])  # fmt: skip
def test_what_only_is_called_a_tar_is_told_for_what_it_is(tmp_path, data, told):
    write_tar(tmp_path / "1.tar", sample({"instruction": "x"}))
    write(tmp_path / "0.tar", data)
    pairs, (text,) = items_of("webdataset", tmp_path)
    assert len(pairs) == 1 and text.startswith(f"{tmp_path / '0.tar'} is no whole tar") and told in text


def test_a_tar_that_was_cut_off_is_told_for_the_picture_that_it_lacks(tmp_path):
    write_tar(tmp_path / "0.tar.gz", {**sample({"instruction": "x"}), **sample({"instruction": "y"}, "b")}, "w:gz")
    data = (tmp_path / "0.tar.gz").read_bytes()
    (tmp_path / "0.tar.gz").write_bytes(data[: len(data) // 2])
    pairs, told = items_of("webdataset", tmp_path)
    assert not pairs and "0.tar.gz is no whole tar" in told[0]


# --- parquet -----------------------------------------------------------------------------------------------------


def write_parquet(path, rows):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(arrow.Table.from_pylist(rows), path)


def omniedit(words, task="removal"):
    cell = {"bytes": png(), "path": None}
    return {"src_img": cell, "edited_img": cell, "edited_prompt_list": words, "task": task}


def test_wordings_of_omniedit_are_whole_texts(tmp_path):
    write_parquet(
        tmp_path / "a.parquet", [omniedit(["one", "two"]), omniedit(["one", "two"]), omniedit(None), omniedit([])]
    )
    pairs, told = items_of("omniedit", tmp_path)
    assert [pair.instruction for pair in pairs] == ["one", "two"]
    assert [text.rpartition("/")[2] for text in told] == [
        "a.parquet, row 2: the instruction is null; one text was expected", "a.parquet, row 3: edited_prompt_list is empty",
    ]  # fmt: skip


def test_a_wording_that_is_no_list_is_not_read_letter_by_letter(tmp_path):
    write_parquet(tmp_path / "a.parquet", [omniedit("remove the dog")])
    assert items_of("omniedit", tmp_path)[0][0].instruction == "remove the dog"


def test_a_damaged_file_and_one_of_another_layout_cost_themselves(tmp_path):
    write_parquet(tmp_path / "b.parquet", [omniedit(["x"])])
    write(tmp_path / "a.parquet", b"PAR1 cut off")
    write_parquet(tmp_path / "c.parquet", [{"image": "x", "text": "y"}])
    pairs, told = items_of("omniedit", tmp_path)
    assert len(pairs) == 1 and "a.parquet cannot be read as parquet" in told[0]
    assert "c.parquet has no column src_img, edited_img, edited_prompt_list; it has: image, text" in told[1]


def test_foreign_parquet_is_of_no_kind_and_its_columns_are_named(tmp_path):
    write_parquet(tmp_path / "a.parquet", [{"image": "x", "text": "y"}])
    with pytest.raises(X2EditError, match=r"no data that can be used.*a\.parquet has the columns image, text"):
        detect_kind(tmp_path)


def test_each_column_of_a_group_is_read_once(tmp_path, monkeypatch):
    """Source and target lie in columns of their own; reading them in turn must not read the group again and again."""
    parquet = pytest.importorskip("pyarrow.parquet")
    write_parquet(tmp_path / "a.parquet", [omniedit([str(number)]) for number in range(8)])
    reads = []
    plain = parquet.ParquetFile.read_row_group

    def counted(self, group, columns):
        reads.append(tuple(columns))
        return plain(self, group, columns=columns)

    monkeypatch.setattr(parquet.ParquetFile, "read_row_group", counted)
    for pair in items_of("omniedit", tmp_path)[0]:
        pair.pictures()
    assert len(reads) == len(set(reads)) == 3


# --- paths, and what is said where nothing fits ------------------------------------------------------------------


@pytest.mark.parametrize("form", ['"{}"', "'{}'", "  {}\n", '\n "{}" \r\n', "“{}”", "\"'{}'\""])
def test_a_pasted_path_is_the_one_that_was_meant(tmp_path, form):
    write_pair(tmp_path / "my data")
    path = form.format(tmp_path / "my data")
    assert existing(path) == tmp_path / "my data" and detect_kind(path) == "folder"
    assert len(list(entries("folder", path, pytest.fail))) == 1


def test_a_path_that_exists_as_it_stands_is_taken_so(tmp_path):
    write_pair(tmp_path / " 'odd' ")
    assert existing(tmp_path / " 'odd' ") == tmp_path / " 'odd' "


@pytest.mark.parametrize(("path", "told"), [("a\nb", "2 lines were found"), ("nowhere/deep/down", "does not exist"),
                                            ("\0", "no data at"), ("x" * 5000, "no data at")])  # fmt: skip
def test_a_path_that_cannot_be_is_told(path, told):
    with pytest.raises(X2EditError, match=told):
        existing(path)


def plain_pictures(folder):
    save(folder / "0.png")


def a_jsonl(folder):
    write_lines(folder, [{"instruction": "x"}])


ELSEWHERE = {
    ("folder", "pairs.jsonl"): (lambda path: write_lines(path.parent, [{"instruction": "x"}], name=path.name),
                                r'is a file; kind folder.*looks like kind "jsonl"'),
    ("folder", "set/source"): (lambda path: [save(path.parent / part / "0.png") for part in ("source", "target")],
                               r'Its folder looks like kind "folder": name .*set\.'),
    ("webdataset", "set"): (write_pair, r'holds no tar.*looks like kind "folder"'),
    ("jsonl", "set"): (lambda path: save(path / "0.png"), r"holds no \.jsonl.*1 \.png.*call them NAME_source\.png"),
    ("omniedit", "set"): (lambda path: write(path / "a.heic", b"x"), r"holds no parquet.*\.heic pictures are not read"),
    ("magicbrush", "set"): (lambda path: write(path / "a.zip", b"PK"), r"1 \.zip.*Unpack the archives"),
    ("gedit", "set"): (lambda path: path.mkdir(), r"There are no files in that folder"),
}  # fmt: skip


@pytest.mark.parametrize("place", ELSEWHERE, ids=str)
def test_where_nothing_fits_what_is_there_and_what_would_do_is_said(tmp_path, place):
    kind, name = place
    make, told = ELSEWHERE[place]
    make(tmp_path / name)
    with pytest.raises(X2EditError, match=told):
        list(read(kind, tmp_path / name))


def test_no_usable_sample_lists_reasons(tmp_path):
    write_pair(tmp_path)
    faults = [SampleError(f"{number}.png is damaged") for number in range(7)]
    text = str(nothing_usable("folder", tmp_path, faults))
    assert "Kind folder looks for NAME_source.png" in text and "Left out, 7 in all:\n  - 0.png is damaged" in text
    assert "and 2 more" in text and "2 .png, 1 .txt" in text


def test_a_folder_of_pairs_with_lines_beside_them_stays_a_folder(tmp_path):
    write_pair(tmp_path)
    write_lines(tmp_path, [{"instruction": "x"}])
    assert detect(tmp_path) == "folder" and detect(tmp_path / "data.jsonl") == "jsonl"


def test_links_to_folders_are_told(tmp_path):
    write_pair(tmp_path / "data")
    write_pair(tmp_path / "other", "b")
    try:
        (tmp_path / "data" / "more").symlink_to(tmp_path / "other", target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no links for this user")
    pairs, (told,) = items_of("folder", tmp_path / "data")
    assert len(pairs) == 1 and "more is a link to a folder" in told


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize(("kind", "name"), [("webdataset", "0.tar"), ("jsonl", "0.jsonl"), ("omniedit", "0.parquet"),
                                            ("folder", "a.txt"), ("folder", "a_source.png")])  # fmt: skip
def test_pipes_are_not_waited_for(tmp_path, kind, name):
    write_pair(tmp_path)
    write_pair(tmp_path, "b")
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with contextlib.suppress(X2EditError):
        _, told = items_of(kind, tmp_path)
        assert any("no file" in text and name in text for text in told), told


def test_a_folder_that_is_called_like_a_picture_is_none(tmp_path):
    write_pair(tmp_path)
    write_pair(tmp_path / "c_target.png", "b")
    save(tmp_path / "c_source.png")
    write(tmp_path / "c.txt", "x")
    pairs, _ = items_of("folder", tmp_path)
    assert [(pair.name, pair.target is None) for pair in pairs] == [
        ("a", False),
        ("c", True),
        ("c_target.png/b", False),
    ]
