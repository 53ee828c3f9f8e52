"""Where the loader looks, what it calls what it finds, and what it refuses to open."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import folder_paths
import pytest

from .graphs import GOLDEN


@pytest.fixture
def adapters(pack, tmp_path, monkeypatch):
    """models/x2edit with a released folder, a single file and things that are no adapters."""
    (tmp_path / "Édition one").mkdir()
    for name in ("lora.safetensors", "task_embeddings.bin"):
        shutil.copyfile(GOLDEN / "x2edit" / name, tmp_path / "Édition one" / name)
    managed = pack.core("comfy_bridge.models").load_managed(tmp_path / "Édition one")
    pack.core("checkpoint").save_adapter(managed.adapter, tmp_path / "sub" / "own.safetensors")
    (tmp_path / "notes.txt").write_text("no adapter")
    paths, extensions = folder_paths.folder_names_and_paths["x2edit"]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "x2edit", ([*paths, str(tmp_path)], extensions))
    folder_paths.filename_list_cache.pop("x2edit", None)
    yield tmp_path
    folder_paths.filename_list_cache.pop("x2edit", None)


def test_the_pack_registers_its_folder_beside_a_persons_own(pack):
    assert str(Path(folder_paths.models_dir) / "x2edit") in folder_paths.get_folder_paths("x2edit")


def test_a_released_folder_is_one_entry_and_only_adapters_are_listed(pack, adapters):
    names = pack.core("comfy_bridge.folders").adapter_names()
    assert "Édition one" in names and "sub/own.safetensors" in names and "embedded: x2edit" in names
    assert not [name for name in names if "lora.safetensors" in name or name.endswith((".txt", ".bin"))]


@pytest.mark.parametrize("name", ["Édition one", "sub/own.safetensors", "embedded: x2edit"])
def test_every_entry_loads(pack, adapters, name):
    (adapter,) = pack.run("X2EditAdapterLoader", adapter_name=name)
    assert adapter.adapter.spec.experts == 12


@pytest.mark.parametrize(
    "name",
    [
        "../secret.safetensors",
        "sub/../../secret.safetensors",
        "/etc/passwd",
        "",
        "Édition one/lora.safetensors",
        "notes.txt",
    ],
)
def test_other_names_open_nothing(pack, adapters, name):
    (adapters.parent / "secret.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"was not found\. Put it into one of"):
        pack.run("X2EditAdapterLoader", adapter_name=name)


def test_a_replaced_file_is_read_again(pack, adapters):
    node = pack.node("X2EditAdapterLoader")
    before = node.fingerprint_inputs("sub/own.safetensors")
    assert node.fingerprint_inputs("sub/own.safetensors") == before
    file = adapters / "sub" / "own.safetensors"
    os.utime(file, ns=(1, 1))
    assert node.fingerprint_inputs("sub/own.safetensors") != before
