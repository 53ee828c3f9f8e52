"""The release as others read it, and the validator on sets with planted faults."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from x2edit_core.data.readers import read
from x2edit_core.dataset import validate as validator
from x2edit_core.dataset.__main__ import main
from x2edit_core.dataset.duplicates import FeatureIndex, HashIndex
from x2edit_core.dataset.phash import distance, phash, thumbnail
from x2edit_core.dataset.release import write_release
from x2edit_core.dataset.validate import validate
from x2edit_core.errors import X2EditError

from .dataset_sets import config_file, loaded, made, outcomes
from .edit_server import editing

FORMS = 'forms = ["webdataset", "jsonl", "parquet"]\nper_tar = 3\n'


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A release of seven pairs in every form, three to a file, with two edits that failed."""
    folder = tmp_path_factory.mktemp("set")
    with editing() as server:
        edit = server.edit
        server.edit = lambda picture, seed: picture if seed % 4 == 0 else edit(picture, seed)
        path = config_file(folder, server.url, 7, shard=4, more=FORMS)
        path.write_text(path.read_text().replace("[recipes.bright]", "[recipes.bright]\nseeds = 3"))
        config = loaded(path)
        made(config)
        write_release(config)
    return config


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_the_webdataset_library_reads_upstreams_names(released):
    wds = pytest.importorskip("webdataset")
    tars = sorted(map(str, (released.folder / "release" / "webdataset").glob("*.tar")))
    assert len(tars) == 3
    records = list(wds.WebDataset(tars, shardshuffle=False, empty_check=False))
    kept = [one for one in outcomes(released) if one["kept"]]
    assert [record["__key__"] for record in records] == [one["key"] for one in kept]
    for record, one in zip(records, kept, strict=True):
        told = json.loads(record["json"])
        assert {"1.0.png", "2.png", "json", "txt"} <= set(record)
        assert told["instruction"] == one["words"]["en"] == record["txt"].decode()
        assert (told["task"], told["label"], told["instruction_zh"]) == ("tone", "bright", "")
        source, target = pixels(record["1.0.png"]), pixels(record["2.png"])
        assert source.shape == target.shape == (told["height"], told["width"], 3)
        change = target.astype(int) - source
        assert (change[:8] == 0).all() and (change[8:] >= 40).mean() > 0.9, "the source comes first"
        made_by = told["provenance"][-1]
        assert made_by["seed"] >= 0 and len(made_by["workflow_sha256"]) == 64 and made_by["date"].startswith("20")
        assert (told["licence"], told["source_url"]) == ("CC0-1.0", "made for tests")


def test_pyarrow_reads_omniedits_columns(released):
    parquet = pytest.importorskip("pyarrow.parquet")
    files = sorted((released.folder / "release" / "parquet").glob("*.parquet"))
    rows = [row for file in files for row in parquet.read_table(file).to_pylist()]
    assert len(files) == 3 and len(rows) == 7
    row = rows[0]
    assert row["edited_prompt_list"] == ["Make number 0 brighter"] and (row["width"], row["height"]) == (24, 16)
    assert pixels(row["src_img"]["bytes"]).shape == pixels(row["edited_img"]["bytes"]).shape
    assert json.loads(row["record"])["task"] == "tone"


@pytest.mark.parametrize(("kind", "form"), [("webdataset", "webdataset"), ("jsonl", "jsonl"), ("omniedit", "parquet")])
def test_every_form_is_read_by_the_trainers_readers(released, kind, form):
    pairs = list(read(kind, released.folder / "release" / form))
    assert len(pairs) == 7
    for number, pair in enumerate(pairs):
        source, target = pair.pictures()
        assert pair.task.english == "tone" and pair.instruction == f"Make number {number} brighter"
        assert (target[8:].astype(int) - source[8:]).mean() > 30 and (target[:8] == source[:8]).all()


def test_failed_edits_become_preference_pairs(released):
    with tarfile.open(next((released.folder / "release" / "preferences").glob("*.tar"))) as file:
        names = file.getnames()
        key = names[0].partition(".")[0]
        read_one = {
            name: file.extractfile(f"{key}.{name}").read() for name in ("source.png", "chosen.png", "rejected.png")
        }
        told = json.loads(file.extractfile(f"{key}.json").read())
    assert told["rejected_reasons"] and told["instruction"].startswith("Make number")
    source, chosen = pixels(read_one["source.png"]), pixels(read_one["chosen.png"])
    assert (chosen[:8] == source[:8]).all() and not (chosen == source).all()
    total = sum(not one["kept"] for one in outcomes(released))
    assert total == 14


def test_the_card_counts_what_is_there(released):
    card = (released.folder / "release" / "README.md").read_text()
    assert "7 pairs" in card and "14 rejected edits" in card
    assert "| tone | 7 |" in card and "| CC0-1.0 | 7 |" in card
    assert "| edit | 21 |" in card, "calls"


def test_the_same_decisions_give_the_same_bytes_and_a_failed_release_leaves_the_earlier_one(released, monkeypatch):
    folder = released.folder / "release"
    before = {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    write_release(released)
    assert {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    monkeypatch.setattr("x2edit_core.dataset.card.write_card", lambda *args: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(X2EditError, match="earlier release"):
        write_release(released)
    assert {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    assert not list(released.folder.glob("release.*"))


def test_a_whole_release_has_no_fault(released, capsys):
    found = validate(released.folder / "release")
    assert not found.faults and found.seen == 7
    assert main(["--validate", str(released.folder / "release" / "jsonl")]) == 0


def rewritten(source, folder, change):
    """A copy of a tar in which `change` may alter, drop or add members: {name: bytes} → the same."""
    with tarfile.open(source) as file:
        members = {name: file.extractfile(name).read() for name in file.getnames()}
    folder.mkdir()
    with tarfile.open(folder / "00000.tar", "w") as file:
        for name, data in change(members).items():
            found = tarfile.TarInfo(name)
            found.size = len(data)
            file.addfile(found, io.BytesIO(data))
    return folder


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def swapped(members, key):
    one, other = f"{key}.1.0.png", f"{key}.2.png"
    return members | {one: members[other], other: members[one]}


def without_licence(members, key):
    told = json.loads(members[f"{key}.json"])
    return members | {f"{key}.json": json.dumps({**told, "licence": ""}).encode()}


PLANTED = {
    "swapped": swapped,
    "sizes differ": lambda members, key: members | {f"{key}.2.png": png(pixels(members[f"{key}.2.png"])[:, :12])},
    "no licence": without_licence,
    "blank edit": lambda members, key: members | {f"{key}.2.png": png(np.full((16, 24, 3), 90, np.uint8))},
    "undecodable": lambda members, key: members | {f"{key}.2.png": members[f"{key}.2.png"][:60]},
    "nothing was edited": lambda members, key: members | {f"{key}.2.png": members[f"{key}.1.0.png"]},
}


@pytest.mark.parametrize("kind", PLANTED)
def test_planted_faults_are_found_by_name_and_nothing_else_is(released, tmp_path, kind):
    source = sorted((released.folder / "release" / "webdataset").glob("*.tar"))[0]
    keys = [one["key"] for one in outcomes(released) if one["kept"]]
    found = validate(rewritten(source, tmp_path / "bad", lambda members: PLANTED[kind](members, keys[1])))
    assert set(found.faults) == {kind}, found.text()
    assert len(found.faults[kind]) == 1 and keys[1] in found.faults[kind][0]
    assert main(["--validate", str(tmp_path / "bad")]) == 1


def test_keys_that_repeat_across_tars_are_found(released, tmp_path):
    source = sorted((released.folder / "release" / "webdataset").glob("*.tar"))[0]
    tmp_path.joinpath("bad").mkdir()
    for name in ("00000.tar", "00001.tar"):
        shutil.copyfile(source, tmp_path / "bad" / name)
    found = validate(tmp_path / "bad")
    assert set(found.faults) == {"duplicate key"} and len(found.faults["duplicate key"]) == 3


def test_a_foreign_set_whose_inputs_and_outputs_were_exchanged_is_seen_by_what_its_edits_share(tmp_path):
    """Three edits of one picture, of which one was put in the wrong way round; no record says anything of it."""
    draw = np.random.default_rng(0)
    picture = np.asarray(Image.fromarray(draw.integers(0, 255, (6, 8, 3), np.uint8)).resize((96, 72), 3))
    lines = []
    for number in range(3):
        edit = np.asarray(Image.fromarray(draw.integers(0, 255, (6, 8, 3), np.uint8)).resize((96, 72), 3))
        pair = (edit, picture) if number == 2 else (picture, edit)
        for name, array in zip(("in", "out"), pair, strict=True):
            Image.fromarray(array).save(tmp_path / f"{name}{number}.png")
        lines.append({"source": f"in{number}.png", "target": f"out{number}.png", "instruction": "x", "license": "MIT"})
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = validate(tmp_path)
    assert set(found.faults) == {"swapped"} and len(found.faults["swapped"]) == 1


def test_near_duplicates_are_left_out_by_hash_and_by_features(tmp_path):
    draw = np.random.default_rng(3)

    def soft():
        return Image.fromarray(draw.integers(0, 255, (8, 8, 3), np.uint8)).resize((128, 128), 3)

    one, other = soft(), soft()
    small = one.resize((64, 64)).resize((128, 128), 3)
    crop = one.crop((13, 13, 115, 115)).resize((128, 128), 3)
    index = HashIndex(4)
    index.add(phash(one), thumbnail(one), "one")
    assert index.find(phash(small), thumbnail(small)) == "one"
    assert not index.find(phash(other), thumbnail(other))
    assert distance(phash(one), phash(crop)) > 4, "the hash does not see crops: features do"
    features = FeatureIndex(0.95)
    near = np.float16([0.6, 0.8]), np.float16([0.62, 0.785]), np.float16([1.0, 0.0])
    features.add(near[0], "one")
    assert features.find(near[1]) == "one" and not features.find(near[2])


def test_hashes_are_found_whichever_four_bits_differ():
    draw, index = np.random.default_rng(5), HashIndex(4)
    value = int(draw.integers(0, 1 << 63))
    index.add(value, bytes(192), "it")
    for _ in range(300):
        bits = draw.choice(64, 4, replace=False)
        assert index.find(value ^ sum(1 << int(bit) for bit in bits), bytes(192)) == "it"
        more = draw.choice(64, 5, replace=False)
        assert not index.find(value ^ sum(1 << int(bit) for bit in more), bytes(192))
    assert not index.find(value, bytes([255]) * 192), "of one hash, and of other colours"


def test_the_same_source_twice_is_released_once(tmp_path):
    with editing() as server:
        path = config_file(tmp_path, server.url, 3)
        path.write_text(path.read_text().replace("hash = -1", "hash = 4"))
        shutil.copyfile(tmp_path / "sources" / "0.png", tmp_path / "sources" / "2.png")
        config = loaded(path)
        made(config)
        written = write_release(config)
    assert (written.pairs, written.left_out) == (2, {"near duplicate": 1})


def test_only_wanted_licences_are_released(tmp_path):
    with editing() as server:
        path = config_file(tmp_path, server.url, 3, more='licences = ["MIT"]\n')
        (tmp_path / "sources" / "list.jsonl").write_text(
            "\n".join(
                json.dumps({"image": f"{n}.png", "instruction": "x", "license": "MIT" if n == 1 else "CC-BY-NC-4.0"})
                for n in range(3)
            )
        )
        made(loaded(path))
        written = write_release(loaded(path))
    assert (written.pairs, written.licences, written.left_out) == (1, {"MIT": 1}, {"licence": 2})


def test_a_place_without_a_set_is_told(tmp_path):
    with pytest.raises(X2EditError, match="no data"):
        validator.validate(tmp_path)


def test_shards_of_another_configuration_are_not_released_in_silence(tmp_path):
    with editing() as server:
        path = config_file(tmp_path, server.url, 4)
        made(loaded(path))
        path.write_text(path.read_text() + "[limits.all]\nleast = {changed = 0.9}\n")
        with pytest.raises(X2EditError, match="another configuration"):
            write_release(loaded(path))
        made(loaded(path))
        assert write_release(loaded(path)).pairs == 0
        path.write_text(path.read_text().replace("changed = 0.9", "changed = 0.1"))
        made(loaded(path))
        shorter = replace(loaded(path), sources=replace(loaded(path).sources, limit=2))
        assert (write_release(loaded(path)).pairs, write_release(shorter).pairs) == (4, 2)


@pytest.mark.full
def test_ray_makes_the_same_bytes_as_threads(tmp_path):
    """One host, so that provenance names the same one; both sets under one name."""
    pytest.importorskip("ray")
    from x2edit_core.dataset.ray_executor import run_on_ray
    from x2edit_core.dataset.shards import Part

    with editing() as server:
        config = loaded(config_file(tmp_path, server.url, 9, shard=2, more=FORMS))
        (tmp_path / "sources" / "3.png").write_bytes(b"no picture")
        made(config)
        other = replace(config, output=str(tmp_path / "ray"))
        assert run_on_ray(other, Part(), lambda line: None) == 5
        assert run_on_ray(other, Part(), lambda line: None) == 0
        for one in (config, other):
            write_release(one)
    released = [
        {
            file.relative_to(one.folder): file.read_bytes()
            for file in (one.folder / "release").rglob("*")
            if file.is_file()
        }
        for one in (config, other)
    ]
    assert released[0] == released[1] and len(released[0]) > 6
