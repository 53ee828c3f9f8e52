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
    pack.core("adapters.checkpoint").save_adapter(managed.adapter, tmp_path / "sub" / "own.safetensors")
    (tmp_path / "notes.txt").write_text("no adapter")
    paths, extensions = folder_paths.folder_names_and_paths["x2edit"]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "x2edit", ([*paths, str(tmp_path)], extensions))
    folder_paths.filename_list_cache.pop("x2edit", None)
    yield tmp_path
    folder_paths.filename_list_cache.pop("x2edit", None)


def test_the_pack_registers_its_folder_beside_a_persons_own(pack):
    assert str(Path(folder_paths.models_dir) / "x2edit") in folder_paths.get_folder_paths("x2edit")


def test_the_folder_is_there_after_the_first_start_and_nothing_is_amiss_where_it_cannot_be_made(pack, monkeypatch):
    folders = pack.core("comfy_bridge.folders")
    folders.make_adapter_folder()
    assert (Path(folder_paths.models_dir) / "x2edit").is_dir()
    monkeypatch.setattr(folder_paths, "models_dir", str(Path(__file__) / "no folder"))
    folders.make_adapter_folder()


def test_only_adapters_are_listed_a_released_one_by_its_file(pack, adapters):
    names = pack.core("comfy_bridge.folders").adapter_names()
    assert {"Édition one/lora.safetensors", "sub/own.safetensors", "embedded: x2edit"} <= set(names)
    assert not [name for name in names if name == "Édition one" or name.endswith((".txt", ".bin"))]


def test_the_node_takes_a_folders_name_as_graphs_held_it_before(pack, adapters):
    """And says what is missing before the run, for X2Edit's own with the address."""
    node = pack.node("X2EditAdapterLoader")
    assert node.validate_inputs("Édition one") is True and node.validate_inputs(None) is True
    assert "was not found" in node.validate_inputs("elsewhere")
    said = node.validate_inputs("X2Edit/lora.safetensors")
    assert all(part in said for part in ("task_embeddings.bin", "models/x2edit/X2Edit", "huggingface.co/OPPOer/X2Edit"))


@pytest.mark.parametrize(
    "name", ["Édition one", "Édition one/lora.safetensors", "sub/own.safetensors", "embedded: x2edit"]
)
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
        "Édition one/task_embeddings.bin",
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


def test_two_files_of_one_name_are_two_entries(pack, adapters, tmp_path_factory, monkeypatch):
    """As both of ICEdit's are published; the name alone stays the one in models/x2edit."""
    loras = tmp_path_factory.mktemp("loras")
    own, name = adapters / "sub" / "own.safetensors", "pytorch_lora_weights.safetensors"
    shutil.copyfile(own, adapters / name)
    shutil.copyfile(own, loras / name)
    shutil.copytree(adapters / "Édition one", loras / "Édition one")
    (loras / "sub").symlink_to(adapters / "sub")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(loras)], {".safetensors"}))
    for category in ("x2edit", "loras"):
        folder_paths.filename_list_cache.pop(category, None)
    folders = pack.core("comfy_bridge.folders")
    names = folders.adapter_names()
    for entry, opened in ((name, name), ("Édition one/lora.safetensors", "Édition one")):
        assert names.count(entry) == names.count(f"loras/{entry}") == 1
        assert folders.adapter_path(entry) == folders.adapter_path(opened) == adapters / opened
        assert folders.adapter_path(f"loras/{entry}") == folders.adapter_path(f"loras/{opened}") == loras / opened
    assert "loras/sub/own.safetensors" not in names, "it is the same file"
    folder_paths.filename_list_cache.pop("loras", None)
