"""Data as people have it: every kind is read, what is broken is listed, and nothing stale comes from the cache."""

from __future__ import annotations

import io
import json
import os
import tarfile
from hashlib import sha256

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from x2edit_core.data import tars
from x2edit_core.diptych import sentence
from x2edit_core.errors import X2EditError
from x2edit_core.tasks import Task
from x2edit_core.train import disk_data, sources
from x2edit_core.train.batches import Batches, generator
from x2edit_core.train.config import DataConfig, parse_config
from x2edit_core.train.forms import example_of, form_of, pictures_of


class Averages:
    """An autoencoder that only remembers the mean colour of 8 × 8 blocks, and how often it was asked."""

    def __init__(self, fingerprint="one"):
        self.fingerprint, self.calls = fingerprint, 0

    def encode(self, pictures):
        self.calls += 1
        grey = pictures.float().mean(-1)[:, None]
        return torch.nn.functional.avg_pool2d(grey, 8).expand(-1, 16, -1, -1) / 255


def picture(seed, height=64, width=64):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def write_folder(path):
    for index in range(3):
        (path / f"{index}_source.png").write_bytes(png(picture(index)))
        (path / f"{index}_target.png").write_bytes(png(picture(index + 10)))
        (path / f"{index}.txt").write_text("Remove the dog" + ("\ncolor" if index == 1 else ""))
    (path / "3_source.png").write_bytes(png(picture(3)))
    return path


def write_jsonl(path):
    write_folder(path)
    rows = [{"source": f"{i}_source.png", "target": f"{i}_target.png", "instruction": "Remove the dog",
             **({"task": "color"} if i == 1 else {})} for i in range(3)]  # fmt: skip
    lines = [*map(json.dumps, rows), "{not json", json.dumps({**rows[0], "target": "gone.png"})]
    (path / "data.jsonl").write_text("\n".join(lines))
    return path / "data.jsonl"


def write_tar(path):
    with tarfile.open(path / "shard-0.tar", "w") as tar:
        for index in range(4):
            told = {"instruction": "Remove the dog", "label": "color" if index == 1 else "删除主体"}
            parts = {
                "json": json.dumps(told).encode(),
                "1.0.jpg": png(picture(index)),
                "2.jpg": png(picture(index + 10)),
            }
            if index == 3:
                del parts["2.jpg"]
            for extension, data in parts.items():
                member = tarfile.TarInfo(f"data/{index:05d}.{extension}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return path


def write_parquet(path, kind):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    names = {"magicbrush": ("source_img", "target_img"), "omniedit": ("src_img", "edited_img")}[kind]
    words = {"instruction": ["Remove the dog"] * 3} if kind == "magicbrush" else {
        "edited_prompt_list": [["Remove the dog", "Take the dog away"]] * 3, "task": ["removal", "color", "removal"],
    }  # fmt: skip
    images = {
        name: [{"bytes": png(picture(10 * side + i)), "path": ""} for i in range(3)] for side, name in enumerate(names)
    }
    parquet.write_table(arrow.table({**images, **words}), path / "part-0.parquet", row_group_size=2)
    return path


WRITERS = {
    "folder": write_folder,
    "jsonl": write_jsonl,
    "webdataset": write_tar,
    "magicbrush": lambda path: write_parquet(path, "magicbrush"),
    "omniedit": lambda path: write_parquet(path, "omniedit"),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_is_recognised_and_read(tmp_path, kind):
    path = WRITERS[kind](tmp_path)
    assert sources.detect_kind(path) == kind
    broken = []
    found = list(sources.entries(kind, path, broken.append))
    assert len(found) == 3
    assert len(broken) == {"folder": 1, "jsonl": 2, "webdataset": 1}.get(kind, 0)
    assert found[1].task is (Task.REMOVE if kind == "magicbrush" else Task.COLOR)
    assert found[0].task is Task.REMOVE, "from the label, or read from the instruction"
    source, target = found[2].pictures()
    rows = 62 if kind == "magicbrush" else 64
    assert np.array_equal(source, picture(2)[:rows]) and np.array_equal(target, picture(12)[:rows])


def parts_of(numbers):
    """A tar's pictures by extension, each of a colour of its own."""
    return {f"{number}.png": png(picture(seed)) for seed, number in enumerate(numbers)}


@pytest.mark.parametrize(
    ("names", "pair"),
    [
        (["1.0", "2"], (0, 1)),
        (["1", "2"], (0, 1)),
        (["0", "1"], (0, 1)),
        (["0", "1", "2"], (1, 2)),
        (["1"], None),
        (["0"], None),
        (["1.0", "1"], None),
        (["0", "2"], None),
    ],
)
def test_a_tar_gives_pairs_of_two_different_pictures(tmp_path, names, pair):
    with tarfile.open(tmp_path / "pairs.tar", "w") as file:
        add(file, "a.json", json.dumps({"instruction": "Remove the dog"}).encode())
        for extension, data in parts_of(names).items():
            add(file, f"a.{extension}", data)
    found, told = broken_of(tmp_path)
    if pair is None:
        assert not found and len(told) == 1 and "holds only" in told[0]
    else:
        assert not told
        for read, seed in zip(found[0].pictures(), pair, strict=True):
            assert np.array_equal(read, picture(seed))


def broken_of(path):
    """What is found at `path`, and what is said of the rest."""
    told = []
    found = list(sources.entries(sources.detect_kind(path), path, told.append))
    return found, [str(error) for error in told]


@pytest.fixture
def secret(tmp_path):
    """A picture beside the data, which no name in it may reach."""
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "secret_source.png").write_bytes(png(picture(7)))
    return data


@pytest.mark.parametrize("name", ["../secret_source.png", "sub/../../secret_source.png", "ABSOLUTE"])
def test_lines_that_name_pictures_elsewhere_are_skipped_and_told(secret, name):
    write_folder(secret)
    name = str(secret.parent / "secret_source.png") if name == "ABSOLUTE" else name
    rows = [{"source": name, "target": "0_target.png", "instruction": "x"},
            {"source": "0_source.png", "target": name, "instruction": "x"},
            {"source": str(secret / "0_source.png"), "target": "./0_target.png", "instruction": "x"}]  # fmt: skip
    (secret / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found, told = broken_of(secret / "data.jsonl")
    assert len(found) == 1 and len(told) == 2
    assert all("leads out of" in text for text in told)


def test_links_that_lead_out_of_the_data_are_skipped_but_the_data_may_be_a_link(secret):
    write_folder(secret)
    try:
        (secret / "4_source.png").symlink_to(secret.parent / "secret_source.png")
        (secret.parent / "linked").symlink_to(secret, target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no links for this user")
    (secret / "4_target.png").write_bytes(png(picture(4)))
    (secret / "4.txt").write_text("Remove the dog")
    for path in (secret, secret.parent / "linked"):
        found, told = broken_of(path)
        assert len(found) == 3
        assert any("leads out of" in text and "4_source" in text for text in told)


def test_tars_may_be_links_as_download_tools_lay_them(secret):
    blob = secret.parent / "blob"
    blob.mkdir()
    write_tar(blob)
    for number, tar in enumerate(sorted(blob.glob("*.tar"))):
        try:
            (secret / f"{number}.tar").symlink_to(tar)
        except OSError:
            pytest.skip("this system makes no links for this user")
    found, _ = broken_of(secret)
    assert len(found) == 3 and all(entry.pictures() for entry in found)


def add(file, name, content=b"", kind=tarfile.REGTYPE, link=""):
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = len(content), kind, link
    file.addfile(member, io.BytesIO(content))


def test_names_and_links_in_a_tar_are_labels_and_are_never_followed(secret):
    with tarfile.open(secret / "pairs.tar", "w") as file:
        told = json.dumps({"instruction": "Remove the dog"}).encode()
        for stem in ("../../up", "/absolute", "C:\\drive"):
            add(file, f"{stem}.json", told)
            add(file, f"{stem}.1.jpg", png(picture(1)))
            add(file, f"{stem}.2.jpg", png(picture(2)))
        add(file, "link.json", told)
        add(file, "link.1.jpg", kind=tarfile.SYMTYPE, link="../secret_source.png")
        add(file, "link.2.jpg", kind=tarfile.LNKTYPE, link="/etc/passwd")
    before = sorted(secret.parent.rglob("*"))
    found, told = broken_of(secret)
    assert len(found) == 3 and all(np.array_equal(entry.pictures()[0], picture(1)) for entry in found)
    assert len(told) == 1 and "link" in told[0] and "holds only json" in told[0]
    assert sorted(secret.parent.rglob("*")) == before


@pytest.mark.parametrize("form", ["gz", "bz2", "xz"])
def test_a_compressed_tar_is_read_as_the_plain_one_and_never_unpacked(secret, form):
    with tarfile.open(secret / f"pairs.tar.{form}", f"w:{form}") as file:
        for index in range(3):
            add(file, f"{index}.json", json.dumps({"instruction": "Remove the dog", "task": "color"}).encode())
            add(file, f"{index}.1.0.png", png(picture(index)))
            add(file, f"{index}.2.png", png(picture(index + 10)))
    before = sorted(secret.parent.rglob("*"))
    found, told = broken_of(secret)
    assert not told and [entry.task for entry in found] == [Task.COLOR] * 3
    for index in (2, 0, 1, 0):
        source, target = found[index].pictures()
        assert np.array_equal(source, picture(index)) and np.array_equal(target, picture(index + 10))
    assert sorted(secret.parent.rglob("*")) == before


def test_a_tar_that_unpacks_without_end_is_refused(secret, monkeypatch):
    monkeypatch.setattr(tars, "_FREE", 1 << 16)
    with tarfile.open(secret / "pairs.tar.gz", "w:gz") as file:
        add(file, "1.json", bytes(1 << 20))
    found, told = broken_of(secret)
    assert found == [] and "decompresses to more than" in told[0]


def test_a_tar_that_leads_round_in_a_circle_is_told(secret):
    """A size below zero sends the reader back to the start of its own member."""
    member = tarfile.TarInfo("1.json")
    member.size = 0
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = (-512).to_bytes(12, "big", signed=True)
    block[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(block))[0]
    (secret / "pairs.tar").write_bytes(bytes(block) * 3 + bytes(1024))
    found, told = broken_of(secret)
    assert found == [] and "no whole tar" in told[0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_the_place_of_a_picture_is_not_waited_for(secret):
    write_folder(secret)
    (secret / "0_target.png").unlink()
    os.mkfifo(secret / "0_target.png")
    found, told = broken_of(secret)
    assert len(found) == 2 and any("0_target.png is no file" in text for text in told)


def test_damaged_parquet_costs_its_group_and_not_the_rest(tmp_path):
    path = write_parquet(tmp_path, "omniedit") / "part-0.parquet"
    import pyarrow.parquet as parquet

    place = parquet.ParquetFile(path).metadata.row_group(0)
    column = next(place.column(i) for i in range(place.num_columns) if "prompt" in place.column(i).path_in_schema)
    data = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + 24] = b"\xff" * 24
    path.write_bytes(data)
    found, told = broken_of(tmp_path)
    assert [entry.name[-5:] for entry in found] == ["row 2"]
    assert len(told) == 1 and "the rest of its group" in told[0]


def pools(path, cache, encoder, **options):
    config = DataConfig("folder", str(path), size=64, **options)
    return disk_data.disk_pools(config, "reference", cache, encoder, lambda done, total: None)


def test_broken_pictures_are_skipped_and_listed(tmp_path):
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.mkdir()
    write_folder(data)
    (data / "1_target.png").write_bytes(b"no picture")
    pool = pools(data, cache, Averages())["edit"]
    assert len(pool.tasks) == 2
    listed = (cache / disk_data.SKIPPED_FILE).read_text().splitlines()
    assert len(listed) == 2 and "3_target" in listed[0] and "1_target.png is no picture" in listed[1]
    for index in range(3):
        (data / f"{index}_target.png").write_bytes(b"")
    with pytest.raises(X2EditError, match="No usable sample"):
        pools(data, tmp_path / "other", Averages())


def test_the_list_of_skipped_samples_goes_when_none_is(tmp_path):
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.mkdir()
    write_folder(data)
    pools(data, cache, Averages())
    assert (cache / disk_data.SKIPPED_FILE).exists()
    (data / "3_source.png").unlink()
    pools(data, cache, Averages())
    assert not (cache / disk_data.SKIPPED_FILE).exists()


def test_a_damaged_latent_file_is_encoded_anew(tmp_path):
    write_folder(tmp_path)
    cache, encoder = tmp_path / "cache", Averages()
    before = pools(tmp_path, cache, encoder)["edit"].example(0).target.clone()  # else it is the file's own memory
    for file in (cache / "latents").iterdir():
        file.write_bytes(file.read_bytes()[:-10])
    again = pools(tmp_path, cache, encoder)["edit"]
    assert encoder.calls == 12 and torch.equal(again.example(0).target, before)


def test_what_breaks_in_training_is_listed_once_by_its_sample(tmp_path):
    write_folder(tmp_path)
    cache = tmp_path / "cache"
    pool = pools(tmp_path, cache, Averages())["edit"]
    broken = sorted((cache / "latents").iterdir())[0]
    broken.write_bytes(b"")
    report = disk_data.SkippedList(cache)
    run = parse_config({"kind": "lora", "output": "x", "steps": 6, "batch": 3, "model": {"base": "toy"}})
    batches = Batches({"edit": pool}, run, report=report)
    for number in range(6):
        assert len(batches.at(number).target) == 3
    batches.close()
    assert report.count == 1
    listed = (cache / disk_data.SKIPPED_FILE).read_text().splitlines()
    assert len(listed) == 2 and "3_target" in listed[0]
    assert "_source.png: its latents" in listed[1] and broken.name in listed[1]


def test_latents_are_encoded_once_and_again_when_their_inputs_change(tmp_path):
    write_folder(tmp_path)
    cache = tmp_path / "cache"
    first, second = Averages(), Averages()
    before = pools(tmp_path, cache, first)["edit"].example(0)
    again = pools(tmp_path, cache, second)["edit"].example(0)
    assert first.calls == 6 and second.calls == 0
    assert torch.equal(before.target, again.target)
    (tmp_path / "0_target.png").write_bytes(png(picture(99, 64, 66)))
    changed = pools(tmp_path, cache, second)["edit"].example(0)
    assert second.calls == 2 and not torch.equal(before.target, changed.target)
    other = Averages("another autoencoder")
    pools(tmp_path, cache, other)
    assert other.calls == 6


def test_latents_are_found_again_by_files_reading_and_encoder(tmp_path):
    """Their name is a digest of both files' paths, sizes and times, how files are read, the autoencoder, form and buckets."""
    write_folder(tmp_path)
    files = [tmp_path / f"0_{part}.png" for part in ("source", "target")]
    key = "|".join(f"{file.resolve()}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files)
    told = "\n".join((key, "as LoadImage", "one", "reference", "(Size(height=64, width=64),)"))
    pools(tmp_path, tmp_path / "cache", Averages())
    assert (tmp_path / "cache" / "latents" / f"{sha256(told.encode()).hexdigest()[:32]}.0.safetensors").exists()


def test_latents_without_notes_are_used_and_their_sizes_are_unknown(tmp_path):
    write_folder(tmp_path)
    pools(tmp_path, tmp_path / "cache", Averages())
    for file in (tmp_path / "cache" / "latents").iterdir():
        save_file(load_file(file), file)
    encoder = Averages()
    summary = pools(tmp_path, tmp_path / "cache", encoder)["edit"].summary
    assert encoder.calls == 0 and summary.pairs == 3 and not summary.sizes


def test_a_pool_knows_what_its_data_is(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "0_target.png").write_bytes(png(picture(1, 64, 65)))
    for _ in range(2):
        summary = pools(tmp_path, tmp_path / "cache", Averages())["edit"].summary
        assert summary.sizes == {disk_data.Size(64, 64): 3} == summary.buckets
        assert summary.tasks == {Task.REMOVE: 2, Task.COLOR: 1} and summary.found == {"words": 2, "named": 1}
        assert summary.skipped == {"no instruction": 1} and summary.notes == {"aspects that differ by 1 % or more": 1}


def test_names_that_are_no_text_train(tmp_path):
    folder = tmp_path / b"caf\xe9".decode("utf-8", "surrogateescape")
    try:
        folder.mkdir()
    except (OSError, UnicodeError):
        pytest.skip("this system takes no such names")
    write_folder(folder)
    assert len(pools(folder, tmp_path / "cache", Averages())["edit"].tasks) == 3
    assert "3_target" in (tmp_path / "cache" / disk_data.SKIPPED_FILE).read_text(encoding="utf-8")


def test_pictures_go_to_the_bucket_of_their_aspect_and_batches_keep_to_one(tmp_path):
    for index, (height, width) in enumerate([(64, 64), (64, 128), (60, 120), (70, 70)]):
        for side in ("source", "target"):
            (tmp_path / f"{index}_{side}.png").write_bytes(png(picture(index, height, width)))
        (tmp_path / f"{index}.txt").write_text("Make it red")
    config = DataConfig("folder", str(tmp_path), size=512)
    pool = disk_data.disk_pools(config, "reference", tmp_path / "cache", Averages(), lambda done, total: None)["edit"]
    shapes = [tuple(pool.example(index).target.shape[1:]) for index in range(4)]
    assert shapes[0] == shapes[3] == (64, 64) and shapes[1] == shapes[2] != (64, 64)
    run = parse_config({"kind": "lora", "output": "x", "steps": 6, "batch": 2, "model": {"base": "toy"}})
    batches = Batches({"edit": pool}, run)
    seen = [tuple(batches.at(number).target.shape[2:]) for number in range(4)]
    assert set(seen) == set(shapes), "every bucket gets its turn"
    batches.close()


def test_fitting_covers_and_cuts_from_the_middle():
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    cut = disk_data.fitted(wide, disk_data.Size(20, 20))
    assert cut.shape == (20, 20, 3) and cut[10, 10, 0] == 200 and cut.mean() > 150


def test_a_diptych_shows_the_source_and_hides_the_right_half():
    source, target = (np.full((1, 16, 16, 3), value, np.uint8) for value in (50, 200))
    shown = pictures_of("diptych", source, target)
    assert shown["target"].shape == (1, 16, 32, 3) and (shown["masked"][:, :, 16:] == 128).all()
    latents = {name: Averages().encode(torch.from_numpy(part))[0] for name, part in shown.items()}
    example = example_of("diptych", "edit", latents, "words", 1)
    assert example.concat.shape == (80, 2, 4) and example.reference is None
    assert torch.equal(example.concat[16:].any(0), torch.tensor([[False, False, True, True]] * 2))
    assert example.instruction == sentence("words"), "the sentence that is used for editing"
    copied = example_of("diptych", "copy", latents, "", 1)
    assert torch.equal(copied.target[..., :2], copied.target[..., 2:])
    assert form_of("icedit_moe") == "diptych" and form_of("x2edit") == form_of("base") == "reference"


@pytest.mark.parametrize("form", ["reference", "diptych"])
def test_a_copy_is_told_nothing_and_gives_the_source_back(form):
    """And an edit is told its instruction and gives the target, each from latents that differ everywhere."""
    latents = {name: torch.full((16, 2, 4), float(value)) for value, name in
               enumerate(("source", "target", "copy", "masked"))}  # fmt: skip
    copied, edited = (example_of(form, mode, latents, "remove the dog", 1) for mode in ("copy", "edit"))
    assert copied.instruction == "" and edited.instruction == (
        sentence("remove the dog") if form == "diptych" else "remove the dog"
    )
    assert torch.equal(copied.target, latents["source" if form == "reference" else "copy"])
    assert torch.equal(edited.target, latents["target"])
    if form == "reference":
        assert torch.equal(copied.reference, latents["source"]) and torch.equal(edited.reference, latents["source"])
    else:
        assert torch.equal(copied.concat, edited.concat) and torch.equal(edited.concat[:16], latents["masked"])


def test_generators_depend_on_their_parts_alone():
    draw = [torch.rand(3, generator=generator("a", number)) for number in (1, 1, 2)]
    assert torch.equal(draw[0], draw[1]) and not torch.equal(draw[0], draw[2])


def test_latents_of_another_reading_of_the_files_are_encoded_anew(tmp_path, monkeypatch):
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.mkdir()
    write_folder(data)
    first, second = Averages(), Averages()
    pools(data, cache, first)
    kept = len(list((cache / "latents").iterdir()))
    monkeypatch.setattr(disk_data, "READING", "in some other way")
    pools(data, cache, second)
    assert len(list((cache / "latents").iterdir())) == 2 * kept > 0
