"""A configuration's faults, all at once; sources and licences as they are told; limits as a pure function."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from dataclasses import replace

import pytest
from PIL import Image

from x2edit_core.data.faults import SampleError
from x2edit_core.dataset.config import DatasetConfig, LimitsConfig, SourcesConfig, load_config
from x2edit_core.dataset.decide import decide, limits_for
from x2edit_core.dataset.faults import RefusedError
from x2edit_core.dataset.ocr import ocr_scores, texts_of
from x2edit_core.dataset.sources import read_sources
from x2edit_core.settings import ConfigError, to_toml
from x2edit_core.tasks import Task
from x2edit_core.workflow.shipped import present

from .dataset_sets import config_file, noise

from x2edit_core.dataset.recipes import SHIPPED  # isort: skip

WRONG = """
name = "a.b"
output = ""
colour = 1
[sources]
kind = "folder"
[sources.tasks]
juggling = 1
[instructions]
writer = "vision"
languages = ["fr"]
[endpoints.writer]
base_url = "http://127.0.0.1:1/v1"
key_variable = "sk-1234"
[[hosts]]
address = "localhost"
[recipes.one]
workflow = ""
tag = "kontext"
[budget]
max_cost = 5.0
[release]
forms = ["zip"]
"""


def test_every_fault_is_told_at_once(tmp_path):
    (tmp_path / "c.toml").write_text(WRONG)
    with pytest.raises(ConfigError) as error:
        load_config(tmp_path / "c.toml")
    assert error.value.problems == ["colour is not known; there are: " + ", ".join(DatasetConfig.__dataclass_fields__)]
    (tmp_path / "c.toml").write_text(WRONG.replace("colour = 1\n", ""))
    with pytest.raises(ConfigError) as error:
        load_config(tmp_path / "c.toml")
    told = "\n".join(error.value.problems)
    for part in ("output is empty", "name = 'a.b'", "sources.path is empty", "juggling", "names 'fr'",
                 "instructions.tasks is empty", "writer.model is empty", "never the key itself", "hosts[0].address",
                 "recipes.one.workflow is empty", "'kontext', which no host carries", "price_in", "names 'zip'"):  # fmt: skip
        assert part in told, part
    assert "sk-1234" not in told


def test_tables_of_tables_are_read_and_written(tmp_path):
    config = load_config(config_file(tmp_path, "http://127.0.0.1:1"))
    assert config.hosts[0].address == "http://127.0.0.1:1" and config.recipes["bright"].seeds == 1
    (tmp_path / "again.toml").write_text(to_toml(config))
    assert load_config(tmp_path / "again.toml") == config
    text = to_toml(config).replace('"depth" = 2', '"depth" = 0')
    (tmp_path / "again.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"depth = 0: at least 1"):
        load_config(tmp_path / "again.toml")
    for wrong, said in (("hosts = 1", r"hosts: tables were expected, written \[\[hosts\]\]"),
                        ("recipes = []", r"recipes: tables were expected, written \[recipes.NAME\]")):  # fmt: skip
        (tmp_path / "again.toml").write_text(f'name = "a"\noutput = "b"\n{wrong}\n')
        with pytest.raises(ConfigError, match=said):
            load_config(tmp_path / "again.toml")


def picture_bytes(seed):
    buffer = io.BytesIO()
    Image.fromarray(noise(seed)).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_folders_pictures_say_whose_they_are_beside_them(tmp_path):
    for name in ("a.png", "b.png", "b_mask.png"):
        (tmp_path / name).write_bytes(picture_bytes(1))
    (tmp_path / "a.json").write_text(
        json.dumps({"license": "CC-BY-4.0", "author": "A", "source_url": "u", "secret": 1})
    )
    first, second = read_sources(SourcesConfig("folder", str(tmp_path), licence="CC0-1.0", origin="mine"))
    assert (first.licence, first.attribution, first.origin, dict(first.told)) == ("CC-BY-4.0", "A", "u", {})
    assert (second.licence, second.origin) == ("CC0-1.0", "mine") and second.mask and not first.mask


def test_tars_and_tables_of_others_are_sources(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    with tarfile.open(tmp_path / "a.tar", "w") as file:
        for name, data in {"k1.jpg": b"1", "k1.json": b'{"license": "MIT"}', "k2.json": b"{}",
                           "k3.1.0.png": b"3", "k3.2.png": b"4"}.items():  # fmt: skip
            found = tarfile.TarInfo(name)
            found.size = len(data)
            file.addfile(found, io.BytesIO(data))
    tars = list(read_sources(SourcesConfig("webdataset", str(tmp_path / "a.tar"))))
    assert [isinstance(one, SampleError) for one in tars] == [False, True, False]
    assert (tars[0].read(), tars[0].licence, tars[2].read()) == (b"1", "MIT", b"3"), "the source, not the target"
    table = pyarrow.table(
        {"image": [{"bytes": b"x"}, {"bytes": b"y"}], "license": ["MIT", None], "instruction": ["i", "j"]}
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    rows = list(read_sources(SourcesConfig("parquet", str(tmp_path / "a.parquet"))))
    assert [(row.read(), row.licence, row.told["instruction"]) for row in rows] == [(b"x", "MIT", "i"), (b"y", "", "j")]


def test_a_list_cannot_lead_out_of_its_folder(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out.png").write_bytes(picture_bytes(1))
    (tmp_path / "in" / "l.jsonl").write_text('{"image": "../out.png"}\n{"image": 3}\nno json\n')
    found = list(read_sources(SourcesConfig("jsonl", str(tmp_path / "in" / "l.jsonl"))))
    assert [type(one) for one in found] == [SampleError] * 3 and "leads out" in str(found[0])


def test_scenes_are_dealt_in_their_shares():
    config = SourcesConfig("scenes", limit=12, size=32, tasks={"tone": 2, "style": 1, "color": 0})
    found = list(read_sources(config))
    assert Counter(one.scene.task for one in found) == {Task.TONE: 8, Task.STYLE: 4}
    assert len({one.name for one in found}) == 12 and all(one.synthetic and one.licence for one in found)


def test_limits_replace_one_another_by_name_and_missing_scores_reject(tmp_path):
    config = load_config(config_file(tmp_path, "http://127.0.0.1:1"))
    plain = limits_for(config, Task.REMOVE)
    assert decide({"changed": 0.1}, plain) == []
    assert decide({"changed": 0.001}, plain) == ["changed 0.001 below 0.002"]
    assert decide({"changed": 0.9}, plain) == ["changed 0.9 above 0.85"]
    assert decide({"changed": 0.9}, limits_for(config, Task.STYLE)) == []
    assert decide({}, plain) == ["changed was not measured"]
    assert decide({"changed": float("nan")}, plain) == ["changed nan below 0.002", "changed nan above 0.85"]
    named = {"all": LimitsConfig({"sc": 5.0, "pq": 5.0}), "delete": LimitsConfig({"sc": 8.0}, {"changed": 0.95})}
    own = replace(config, limits=named)
    assert decide({"changed": 0.9, "sc": 8.0, "pq": 4.0}, limits_for(own, Task.REMOVE)) == ["pq 4 below 5"]
    assert decide({"changed": 0.5, "sc": 6.0}, limits_for(own, Task.TONE)) == ["pq was not measured"]


def test_the_papers_limits_hold_where_their_scores_are_there(tmp_path):
    path = config_file(tmp_path, "http://127.0.0.1:1")
    more = '[scores]\njudge = "imgedit"\n[endpoints.judge]\nbase_url = "http://127.0.0.1:1/v1"\nmodel = "m"\n'
    path.write_text(path.read_text() + more)
    config = load_config(path)
    subject = limits_for(config, Task.SUBJECT)
    assert decide({"changed": 0.5, "total": 9.0}, subject) == []
    assert decide({"changed": 0.5, "total": 8.0, "dino_source": 0.5}, subject) == [
        "dino_source 0.5 below 0.6",
        "total 8 below 9",
    ]
    assert decide({"changed": 0.5, "total": 9.0, "ocr_new": 0.2}, limits_for(config, Task.TEXT)) == [
        "ocr_new 0.2 below 0.8"
    ]


@pytest.mark.parametrize(
    ("instruction", "texts"),
    [
        ('Change "OPEN" to "CLOSED"', ("OPEN", "CLOSED")),
        ('Let it say "Sunday" instead of "Friday"', ("Friday", "Sunday")),
        ("把“开”改成“关”", ("开", "关")),
        ('Write "hello" on it', ("", "hello")),
        ("Remove the text", ("", "")),
    ],
)
def test_texts_that_go_and_come_are_read_from_the_instruction(instruction, texts):
    assert texts_of(instruction) == texts


def test_what_is_read_counts_by_its_longest_run():
    assert ocr_scores("Shop CLO SED now", 'Change "open" to "closed"') == {"ocr_old": 0.5, "ocr_new": 1.0}


def test_shipped_recipes_lie_where_they_are_named():
    assert all(present(path).is_file() for path in SHIPPED.values())


def test_a_refusal_tells_its_stage():
    assert str(RefusedError("edits", "no recipe")) == "edits: no recipe"
