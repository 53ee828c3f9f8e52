"""Readers of what others wrote, on damaged input: the project's own error at most, no code run, nothing touched elsewhere."""

from __future__ import annotations

import json
import os
import pickle
import random
import zlib

import pytest
from fuzz.guard import Forbidden, Guard
from fuzz.readers import READERS, check
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from x2edit_core.data.picture_files import opened
from x2edit_core.errors import X2EditError

GUARD = Guard()
FEW, MANY = 40, 2000
PER_DRAW = settings(deadline=None, derandomize=True, database=None,
                    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])  # fmt: skip


@pytest.fixture(params=READERS)
def reader(request):
    if "parquet" in request.param:
        pytest.importorskip("pyarrow")
    return READERS[request.param]


def damaged(seeds, number):
    """One of `seeds` with a few bytes changed, lost, repeated or swapped; the same for the same number."""
    draw = random.Random(number)
    data = bytearray(draw.choice(seeds))
    for _ in range(draw.randrange(1, 6)):
        at, length = draw.randrange(len(data) + 1), draw.choice((1, 1, 2, 8, 64))
        kind = draw.randrange(5)
        if kind == 0:
            data[at : at + length] = draw.randbytes(len(data[at : at + length]))
        elif kind == 1:
            del data[at : at + length]
        elif kind == 2:
            data[at:at] = data[at : at + length] * draw.choice((1, 2, 50))
        elif kind == 3:
            data[at : at + 1] = bytes([draw.choice((0, 1, 0x7F, 0x80, 0xFF, *b'0919"{}[]-./\\'))])
        else:
            other = draw.choice(seeds)
            data[at:] = other[draw.randrange(len(other) + 1) :]
    return bytes(data)


def survive(reader, count, folder):
    seeds = reader.seeds()
    first = zlib.crc32(reader.name.encode())
    for number in range(first, first + count):
        check(reader, damaged(seeds, number), folder, GUARD)


def test_damaged_input_is_read_or_refused(reader, tmp_path):
    survive(reader, FEW, tmp_path)


@pytest.mark.full
def test_much_damaged_input_is_read_or_refused(reader, tmp_path):
    survive(reader, MANY, tmp_path)


def test_valid_input_is_read_without_touching_anything_else(reader, tmp_path):
    for data in reader.seeds():
        check(reader, data, tmp_path, GUARD)


texts = st.text(st.characters(exclude_categories=()), max_size=60)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("name", ["replies", "instruction", "words"])
@settings(PER_DRAW, max_examples=60)
@given(texts)
@example("1" * 5000)
@example("</think>" * 50)
def test_any_text_is_understood_or_not(tmp_path, name, text):
    check(READERS[name], text.encode("utf-8", "surrogatepass"), tmp_path, GUARD)


@settings(PER_DRAW, max_examples=80)
@given(json_values)
@example([[10**400, 1]])
@example(["1", 2])
def test_marks_are_two_numbers_or_none(tmp_path, score):
    check(READERS["replies"], json.dumps({"score": score, "reason": score}).encode(), tmp_path, GUARD)


@settings(PER_DRAW, max_examples=80)
@given(json_values, json_values)
@example([{"text": None}, {"text": 3}], [])
@example("1", [{"token": "1", "logprob": 10**400}])
@example("1", [{"token": "1", "logprob": float("inf")}, {"token": " 1", "logprob": float("inf")}])
def test_any_answer_of_a_server_is_understood_or_refused(tmp_path, content, table):
    choice = {"message": {"content": content}, "logprobs": {"content": [{"top_logprobs": table}]}}
    check(READERS["completion"], json.dumps({"choices": [choice]}).encode(), tmp_path, GUARD)


@settings(PER_DRAW, max_examples=80)
@given(json_values, json_values, json_values)
@example("x" * 5000, "0_target.png", "a")
@example("a\0b", "0_target.png", "a")
def test_any_line_of_a_data_set_is_a_sample_or_not(tmp_path, source, target, words):
    rows = [{"source": source, "target": target, "instruction": words, "task": words}, source]
    check(READERS["jsonl"], "\n".join(map(json.dumps, rows)).encode(), tmp_path, GUARD)


DEEP = 100_000


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("config", b"steps = 10000000000000000000000"),
        ("config", b'kind = "lora"\noutput = "run"\nsteps = 9\n[optim]\nrate = 1' + b"0" * 400),
        ("config", 'kind = "lora"\noutput = "\U000e0001"\nsteps = 9\n[model]\nbase = "b"'.encode()),
        ("config", b"a = " + b"[" * DEEP),
        ("config", b"\xff"),
        ("config", b"a = 2026-13-99"),
        ("jsonl", b"\xff\n{}"),
        ("jsonl", b"[" * DEEP),
        ("words", b"\xff"),
        ("replies", b'{"score": ' + b"[" * DEEP + b"}"),
        ("completion", b"[" * DEEP),
        ("table", b"step,loss\r\n1,0.5\r\n2,0."),
        ("table", b"step,loss\r\n1,0.5\r\n" + b"9" * 5000 + b",1\r\n"),
        ("table", b'step,loss\r\n1,"' + b"x" * 200_000),
        ("zipped_task_table", b"\x80\x02" + b"(" * 1000 + b"."),
        ("cases_list", b'{"a": {"id": "../../etc/passwd", "prompt": 1, "edit_type": []}}'),
        ("cases_turns", b'[{"input": "../-/x", "output": [], "mask": "-", "instruction": 1}]'),
        ("cases_prompts", b"d,d\nObject Prompts\n'{1} {0.__class__} {x}'.format\nLive Subject Prompts\n'{1}{'.format"),
        ("picture", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"),
    ],
)  # fmt: skip
def test_found_before(tmp_path, name, data):
    check(READERS[name], data, tmp_path, GUARD)


def test_a_picture_of_gigabytes_in_a_few_bytes_is_refused():
    """Found by the fuzzer: a GIF of 45 bytes that took eight seconds and 2.6 GB."""
    head = b"GIF89a" + (2).to_bytes(2, "little") + (2568).to_bytes(2, "little") + b"\0\0\0"
    frame = b"," + bytes(4) + (65535).to_bytes(2, "little") + (2568).to_bytes(2, "little") + b"\0\x02\x01\x04\0;"
    with pytest.raises(X2EditError, match="pixels are more than"):
        opened(head + frame)


def test_a_half_written_row_is_left_out(tmp_path):
    from x2edit_core.train.journal import read_table

    (tmp_path / "losses.csv").write_bytes(b"step,loss\r\n1,0.5\r\n2,0.25\r\n3,0.1")
    assert [row["loss"] for row in read_table(tmp_path / "losses.csv")] == ["0.5", "0.25"]


class Runs:
    """Code in a pickle: it would leave a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["task_table", "zipped_task_table", "alignnet", "state"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_in_a_pickle_is_not_run(tmp_path, name, protocol):
    folder = tmp_path / "data"
    folder.mkdir()
    check(READERS[name], pickle.dumps({"weight": Runs(folder / "ran")}, protocol), folder, GUARD)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    "act",
    [
        lambda outside: outside.write_text("x"),
        lambda outside: outside.mkdir(),
        lambda outside: (outside.parent / "there").read_text(),
        lambda outside: os.system("true"),  # noqa: S605
        lambda outside: pickle.loads(pickle.dumps(Runs(outside))),  # noqa: S301
    ],
    ids=["write", "make", "read", "start", "unpickle"],
)
def test_the_guard_sees_what_it_is_there_for(tmp_path, act):
    (tmp_path / "there").write_text("x")
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(Forbidden), GUARD.over(inside):
        act(tmp_path / "outside")
    assert not (tmp_path / "outside").exists()
    with GUARD.over(inside):
        (inside / "file").write_text("fine")
        assert (inside / "file").read_text() == "fine"


def test_the_guard_is_not_stopped_by_a_reader_that_survives_everything(tmp_path):
    def reads(data, folder):
        try:
            (folder.parent / "outside").write_bytes(data)
        except BaseException as error:
            raise X2EditError("hidden") from error

    inside = tmp_path / "inside"
    inside.mkdir()
    hiding = type(READERS["adapter"])("hiding", reads, list)
    with pytest.raises(Forbidden):
        check(hiding, b"x", inside, GUARD)
