"""Choices of nodes from disks as they are: closed folders, links to nowhere, circles, and entries that other packs broke."""

from __future__ import annotations

import logging
import os
import re
import sys
from pathlib import Path

import folder_paths
import pytest
from devkit.host import Host
from devkit.layout import PACK_NAME
from devkit.server import Server

LISTING_NODES = (
    "X2EditAdapterLoader",
    "X2EditAlignNetLoader",
    "X2EditChatFromFolder",
    "X2EditScore",
    "X2EditChatFromEndpoint",
)
CATEGORIES = ("x2edit", "text_encoders", "LLM", "clip_vision")


def ruin(folder: Path, circles: bool) -> None:
    """A folder of models as a disk can hold one, with one model in it. In `circles` a walk through links never ends."""
    good = folder / "good"
    good.mkdir(parents=True)
    (good / "config.json").write_text("{}")
    (folder / "good.safetensors").touch()
    (folder / "dangling.safetensors").symlink_to(folder / "nothing")
    (folder / "dangling").symlink_to(folder / "nowhere", target_is_directory=True)
    (folder / "itself.safetensors").symlink_to(folder / "itself.safetensors")
    for name in ("back", "again") if circles else ():
        (folder / name).symlink_to(folder, target_is_directory=True)
    closed = folder / "lost+found"
    closed.mkdir()
    (closed / "hidden.safetensors").touch()
    closed.chmod(0o000)
    (folder / ("n" * 250)).mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.safetensors")).touch()


@pytest.fixture
def listing(pack):
    return pack.core("comfy_bridge.listing")


@pytest.fixture(autouse=True)
def fresh_notices(pack, monkeypatch):
    monkeypatch.setattr(pack.core("comfy_bridge.notices"), "_said", {})


@pytest.fixture
def registered(monkeypatch):
    def register(entry, category="x2edit"):
        monkeypatch.setitem(folder_paths.folder_names_and_paths, category, entry)
        folder_paths.filename_list_cache.pop(category, None)

    yield register
    folder_paths.filename_list_cache.clear()


def schemas(pack):
    """Every node's, as the host makes them."""
    return {name: pack.node(name).INPUT_TYPES() for name in pack.node_ids}


@pytest.mark.skipif(os.name != "posix", reason="such names and links are POSIX's")
def test_the_pack_loads_in_a_host_whose_folders_are_ruined(tmp_path):
    for category in CATEGORIES:
        # The host walks through links by itself where a category is its own, and would not end.
        ruin(tmp_path / "models" / category, circles=category in ("x2edit", "LLM"))
    (tmp_path / "models" / "x2edit" / "sub").write_text("a file")
    with Server(Host(os.environ["COMFYUI_PATH"], sys.executable, ""), base=tmp_path) as server:
        for _ in range(3):
            info = server.object_info()
        assert all(info[name]["python_module"].endswith(PACK_NAME) for name in LISTING_NODES)
        assert "good.safetensors" in str(info["X2EditAdapterLoader"]["input"])
        assert str(info["X2EditAdapterLoader"]["input"]).count("good.safetensors") == 1, "a circle gives each file once"
        assert "dangling" not in str(info["X2EditAdapterLoader"]["input"])
        assert {"LLM/good", "text_encoders/good"} <= set(str(info["X2EditChatFromFolder"]["input"]).split("'"))
        assert "clip_vision/good" in str(info["X2EditScore"]["input"])
        said = re.findall(r"X2Edit: '[^']*models/x2edit/(\S+)'", server.log)
        assert {"dangling.safetensors", "itself.safetensors"} <= set(said)
        assert len(said) == len(set(said)), "each is said once"
        assert "IMPORT FAILED" not in server.log and "Traceback" not in server.log


@pytest.mark.parametrize(
    "fault",
    [
        PermissionError(13, "closed"),
        OSError(40, "circle"),
        OSError(116, "stale handle"),
        ValueError("embedded null byte"),
    ],
    ids=lambda fault: type(fault).__name__ + str(getattr(fault, "errno", "")),
)
@pytest.mark.parametrize("where", ["folder", "inside", "entry"])
def test_no_fault_of_the_system_stops_a_schema(pack, listing, registered, tmp_path, monkeypatch, caplog, fault, where):
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "config.json").touch()
    (tmp_path / "bad" / "deep").mkdir(parents=True)
    (tmp_path / "a.safetensors").touch()
    for category in CATEGORIES:
        registered(([str(tmp_path)], {".safetensors"}), category)
    real = os.scandir

    class Entry:
        def __init__(self, entry):
            self.name, self.path, self.is_symlink = entry.name, entry.path, entry.is_symlink
            self.is_dir = entry.is_dir if entry.name != "bad" else self.fail

        def fail(self):
            raise fault

    class Entries(list):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    def scandir(path="."):
        if str(path) == str(tmp_path / "bad") and where == "inside":
            raise fault
        if str(path) == str(tmp_path) and where == "folder":
            raise fault
        with real(path) as found:
            return Entries(Entry(entry) if where == "entry" else entry for entry in found)

    monkeypatch.setattr(listing.os, "scandir", scandir)
    with caplog.at_level(logging.WARNING, "x2edit"):
        for _ in range(2):
            schemas(pack)
    lines = [record.getMessage() for record in caplog.records if "cannot be read" in record.getMessage()]
    assert len(lines) == 1 and (str(tmp_path) in lines[0])
    assert listing.files("x2edit", ("",)) == ([] if where == "folder" else ["a.safetensors", "good/config.json"])
    assert list(listing.model_folders("LLM")) == ([] if where == "folder" else ["LLM/good"])


def test_a_folder_that_vanishes_between_two_looks_is_left_out(pack, listing, registered, tmp_path, monkeypatch):
    for name in ("stays", "goes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").touch()
    registered(([str(tmp_path)], {".safetensors"}), "LLM")
    real_scandir, real_isfile = os.scandir, os.path.isfile

    def scandir(path="."):
        if str(path).endswith("goes"):
            raise FileNotFoundError(2, "gone")
        return real_scandir(path)

    monkeypatch.setattr(listing.os, "scandir", scandir)
    monkeypatch.setattr(listing.os.path, "isfile", lambda path: "goes" not in str(path) and real_isfile(path))
    assert list(listing.model_folders("LLM")) == ["LLM/stays"]
    schemas(pack)


BROKEN = {
    "a string for a list": lambda good: (good, {".safetensors"}),
    "a path for a list": lambda good: (Path(good), set()),
    "paths that are Paths": lambda good: ([Path(good)], set()),
    "None among them": lambda good: ([None, good], {".safetensors"}),
    "a number among them": lambda good: ([3, good, ""], {".safetensors"}),
    "bytes": lambda good: ([good.encode(), good], {".safetensors"}),
    "no extensions": lambda good: ([good],),
    "None for extensions": lambda good: ([good], None),
    "a bare list": lambda good: [good],
    "a name with a null": lambda good: ([good, "a\0b"], {".safetensors"}),
    "a name too long": lambda good: ([good, "/" + "x" * 5000], {".safetensors"}),
    "twice the same": lambda good: ([good, good], {".safetensors"}),
    "a file": lambda good: ([good, __file__], {".safetensors"}),
}
EMPTY = {
    "nothing": None,
    "no folders": ([], set()),
    "an empty tuple": (),
    "a number": 5,
    "None for a list": (None, set()),
}


@pytest.mark.parametrize("category", [*CATEGORIES, "loras"])
@pytest.mark.parametrize("how", BROKEN)
def test_entries_that_other_packs_broke(pack, listing, registered, tmp_path, category, how):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").touch()
    (tmp_path / "mine.safetensors").touch()
    registered(BROKEN[how](str(tmp_path)), category)
    schemas(pack)
    assert list(listing.model_folders(category)) in ([f"{category}/mine"], [])
    assert f"{category}/mine" in listing.model_folders(category) or how == "a bare list"
    found = pack.core("comfy_bridge.folders").adapter_names()
    assert ("mine.safetensors" in found) == (category in ("x2edit", "loras"))


@pytest.mark.parametrize("category", [*CATEGORIES, "loras"])
@pytest.mark.parametrize("how", EMPTY)
def test_entries_of_other_packs_that_hold_nothing(pack, registered, category, how):
    registered(EMPTY[how], category)
    schemas(pack)


@pytest.mark.parametrize("how", [*BROKEN, *EMPTY])
def test_the_pack_registers_its_folder_over_whatever_lies_there(pack, registered, tmp_path, how):
    entry = BROKEN[how](str(tmp_path)) if how in BROKEN else EMPTY[how]
    registered(entry)
    pack.core("comfy_bridge").register_model_folders()
    assert str(Path(folder_paths.models_dir) / "x2edit") in pack.core("comfy_bridge.listing").roots("x2edit")
    schemas(pack)


def test_a_host_that_cannot_list_is_done_without(pack, registered, tmp_path, monkeypatch):
    """As when another pack replaced the host's function."""
    (tmp_path / "mine.safetensors").touch()
    registered(([str(tmp_path)], {".safetensors"}), "loras")
    monkeypatch.setattr(folder_paths, "get_filename_list", lambda name: {}[name])
    assert "mine.safetensors" in pack.core("comfy_bridge.folders").adapter_names()
    schemas(pack)
