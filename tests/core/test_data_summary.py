"""What a run says of its data at the start, and what makes two data sets the same."""

from __future__ import annotations

import os

from x2edit_core.data.pairs import Pair, SampleError, kind_of
from x2edit_core.data.readers import read
from x2edit_core.data.summary import summary_of
from x2edit_core.geometry import Size
from x2edit_core.tasks import Task


def pair(words, *labels):
    kind = kind_of(words, *labels)
    return Pair("a", words, kind.label, kind.task, bytes, found=kind.found)


def test_every_count_has_its_line():
    pairs = [
        pair("Remove the dog"),
        pair("x", "color"),
        pair("Remove it", "zauber"),
        pair("x", "gpt4o", "style").noted("odd"),
    ]
    sizes, buckets = [Size(64, 48), Size(64, 48), Size(10, 20)], [Size(512, 512)] * 4
    faults = [SampleError("a", "no target"), SampleError("b", "no target"), SampleError("c")]
    assert summary_of("folder", "/data", pairs, sizes, buckets, faults).lines() == [
        "data: 4 pairs of kind folder at /data",
        "  sizes: 48 × 64 (2), 20 × 10 (1)",
        "  trained at: 512 × 512 (4)",
        "  tasks: remove subject (2), color (1), style (1); 2 named by the data, 2 read from the words by rules; no task is "
        "called zauber (1)",
        "  to look at: odd (1)",
        "  skipped: no target (2), cannot be read (1)",
    ]


def test_the_first_label_that_means_a_task_counts():
    assert kind_of("remove it", "step1x", "color_alter").task is Task.COLOR
    assert (kind_of("remove it", None, 5).task, kind_of("remove it", None, 5).label) == (Task.REMOVE, "5")
    assert kind_of("remove it", "", None).found == "words"


def test_a_fingerprint_stays_when_data_moves_and_changes_with_it(tmp_path):
    def print_of(folder):
        found = [item for item in read("folder", folder) if isinstance(item, Pair)]
        return summary_of("folder", str(folder), found, (), (), ()).fingerprint

    first = tmp_path / "first"
    first.mkdir()
    for part in ("source", "target"):
        (first / f"a_{part}.png").write_bytes(b"picture")
    (first / "a.txt").write_text("make it red")
    before = print_of(first)
    first.rename(tmp_path / "second")
    os.utime(tmp_path / "second" / "a_source.png", (1, 1))
    assert print_of(tmp_path / "second") == before
    (tmp_path / "second" / "a.txt").write_text("make it blue")
    assert print_of(tmp_path / "second") != before
