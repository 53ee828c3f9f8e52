"""Figures of judges on pairs whose better edit is known, and the readers of such pairs."""

from __future__ import annotations

import io

import pytest
import torch
from bench.judge_pairs import VOTES, WRONGS, of_files, of_scenes
from PIL import Image

from x2edit_core.choosing.agreement import Asked, Pair, ask, figures
from x2edit_core.choosing.judge import Verdict
from x2edit_core.errors import X2EditError


class Told:
    name, remote = "a test", False

    def __init__(self, says):
        self.compare = lambda source, a, b, instruction: says(a, b)


def pairs(count=4):
    return [Pair(str(n), "source", "good", "bad", "x", "A") for n in range(count)]


@pytest.mark.parametrize(
    ("says", "accuracy", "ties", "unusable", "first"),
    [
        (lambda a, b: Verdict("A" if a == "good" else "B"), 1.0, 0.0, 0.0, 0.0),
        (lambda a, b: Verdict("B" if a == "good" else "A"), 0.0, 0.0, 0.0, 0.0),
        (lambda a, b: Verdict("A"), 0.5, 0.0, 0.0, 1.0),
        (lambda a, b: Verdict("tie"), 0.5, 1.0, 0.0, 0.0),
        (lambda a, b: Verdict("tie", fault="gone"), 0.5, 0.0, 1.0, 0.0),
        (lambda a, b: Verdict("A") if a == "good" else Verdict("tie"), 0.75, 0.5, 0.0, 0.0),
    ],
)
def test_shares_of_answers_and_places(says, accuracy, ties, unusable, first):
    found = figures(ask(Told(says), pairs()))
    assert (found["accuracy"], found["ties"], found["unusable"], found["first_place"]) == (
        accuracy,
        ties,
        unusable,
        first,
    )
    assert found["pairs"] == 4 and found["right"] + found["wrong"] + found["ties"] + found["unusable"] == 1


def test_a_known_tie_is_right_as_a_tie():
    pair = Pair("0", "source", "good", "good", "x", "tie")
    assert Asked(pair, Verdict("tie"), Verdict("A")).outcomes == ("right", "wrong")
    assert figures([]) == {"pairs": 0}


def test_scenes_know_their_better_edit():
    """The better one is the exact target; each kind of wrong edit is another picture than both."""
    found = list(of_scenes(60, 64))
    assert {pair.name.split(", ")[1] for pair in found} == set(WRONGS)
    assert {pair.better for pair in found} == {"A", "B"}
    for pair in found:
        right, wrong = (pair.first, pair.second) if pair.better == "A" else (pair.second, pair.first)
        assert not torch.equal(right, wrong) and not torch.equal(right, pair.source)
        assert torch.equal(wrong, pair.source) == pair.name.endswith("nothing")


def png(value):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (value, 0, 0)).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


@pytest.mark.parametrize(
    "names",
    [
        ("instruction", "source_img", "left_output_image", "right_output_image", "vote_type"),
        ("instruct_prompt", "source_image", "left_output_image", "right_output_image", "vote_type"),
    ],
)
def test_published_pairs_are_read_from_local_files(tmp_path, names):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = [["add a hat"] * 3, [png(1)] * 3, [png(2)] * 3, [png(3)] * 3, ["leftvote", "rightvote", "bothbad"]]
    parquet.write_table(pa.table(dict(zip(names, columns, strict=True))), tmp_path / "test-0.parquet")
    found = list(of_files(tmp_path))
    assert [pair.better for pair in found] == ["A", "B", "tie"]
    assert [picture.getpixel((0, 0))[0] for picture in (found[0].source, found[0].first, found[0].second)] == [1, 2, 3]
    assert found[0].instruction == "add a hat"


def test_unknown_columns_and_votes_are_refused(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    with pytest.raises(X2EditError, match="No parquet files"):
        list(of_files(tmp_path))
    file = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"instruction": ["x"]}), file)
    with pytest.raises(X2EditError, match="no column for the source"):
        list(of_files(file))
    names = ("instruction", "source_img", "left_output_image", "right_output_image", "vote_type")
    columns = [["x"], [png(1)], [png(2)], [png(3)], ["perhaps"]]
    parquet.write_table(pa.table(dict(zip(names, columns, strict=True))), file)
    with pytest.raises(X2EditError, match="'perhaps' is not known"):
        list(of_files(file))
    assert set(VOTES.values()) == {"A", "B", "tie"}
