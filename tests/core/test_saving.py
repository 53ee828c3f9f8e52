"""Saving where there is no room, or beside another save: the previous file intact, one clear error, nothing left over."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from x2edit_core import files
from x2edit_core.adapters.checkpoint import load_adapter, save_adapter
from x2edit_core.errors import X2EditError
from x2edit_core.families.flux1 import FluxShape
from x2edit_core.files import replacing, try_to_write
from x2edit_core.train.adapters import new_adapter, spec_for
from x2edit_core.train.checkpoints import claimed, load_newest, save_state
from x2edit_core.train.config import AdapterConfig
from x2edit_core.train.journal import Table

ROOM = 96 << 10


def adapter(seed):
    """Some 300 KiB."""
    return new_adapter(spec_for("moe", AdapterConfig(experts=8, rank=8), FluxShape(64, 1, 1)), False, seed)


def state(step):
    return {"step": step, "config": "", "weights": {"w": torch.full((ROOM,), step)}, "optimiser": {}, "average": {}}


def write_adapter(folder, number):
    save_adapter(adapter(number), folder / "own.safetensors")


def write_state(folder, number):
    save_state(folder, 1, state(number), keep=2)


def write_table(folder, number):
    path = folder / "losses.csv"
    if number == 0:
        rows = "".join(f"{step},{step}\r\n" for step in range(ROOM // 6))
        path.write_bytes(("step,loss\r\n" + rows).encode())
        return
    Table(path, ["loss"], resumed_at=ROOM)


@pytest.fixture(params=["limit", "disk"])
def little_room(request, tmp_path):
    """A folder, and a context in which no file of `ROOM` bytes can be written to it."""
    if request.param == "limit":
        resource = pytest.importorskip("resource")

        @contextlib.contextmanager
        def full():
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM // 2, hard))
            try:
                yield
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

        yield tmp_path, full
        return
    mount = shutil.which("mount")
    command = [mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)]
    if not mount or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a disk of two megabytes can only be made by an administrator of a Linux")

    @contextlib.contextmanager
    def full():
        filler = tmp_path / "filler"
        with filler.open("wb", 0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        os.truncate(filler, filler.stat().st_size - ROOM // 2)
        try:
            yield
        finally:
            filler.unlink()

    try:
        yield tmp_path, full
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize("write", [write_adapter, write_state, write_table])
def test_no_room_leaves_the_previous_file(little_room, write):
    folder, full = little_room
    write(folder, 0)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with full(), pytest.raises(X2EditError, match=r"could not be written.*What was there before is untouched"):
        write(folder, 1)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    write(folder, 1)


@pytest.mark.skipif(os.name != "posix", reason="only there folders are synced")
def test_what_is_saved_is_on_the_disk_before_and_after_it_gets_its_name(tmp_path, monkeypatch):
    """A power cut after the rename must not find an empty file: content, name, folder, in this order."""
    done = []
    fsync, replace = os.fsync, Path.replace

    def noted_sync(handle):
        kind = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else f"{os.fstat(handle).st_size} bytes"
        done.append(kind)
        fsync(handle)

    def noted_replace(path, target):
        done.append("name")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    with replacing(tmp_path / "a") as part:
        part.write_bytes(b"abc")
    assert done == ["3 bytes", "name", "folder"]


@pytest.mark.parametrize(("number", "fatal"), [(errno.EIO, True), (errno.ENOSPC, True), (errno.EINVAL, False)])
def test_a_disk_that_fails_to_sync_is_told_but_one_that_knows_no_sync_is_not(tmp_path, monkeypatch, number, fatal):
    (tmp_path / "a").write_bytes(b"before")

    def failing(handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", failing)
    told = pytest.raises(X2EditError, match="could not be written") if fatal else contextlib.nullcontext()
    with told, replacing(tmp_path / "a") as part:
        part.write_bytes(b"after")
    assert (tmp_path / "a").read_bytes() == (b"before" if fatal else b"after")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_place_is_tried_without_leaving_anything(tmp_path):
    kept = tmp_path / "kept"
    kept.write_bytes(b"k")
    try_to_write(tmp_path / "new" / "deep" / "a.safetensors")
    try_to_write(kept)
    assert sorted(tmp_path.rglob("*")) == [kept] and kept.read_bytes() == b"k"
    with pytest.raises(X2EditError, match="could not be written"):
        try_to_write(tmp_path / ("剪" * 90))
    with pytest.raises(X2EditError, match="could not be written"):
        try_to_write(kept / "below a file")
    (tmp_path / "folder.bin").mkdir()
    with pytest.raises(X2EditError, match="a folder of that name"):
        try_to_write(tmp_path / "folder.bin")


def test_a_run_that_is_refused_leaves_no_folder_and_one_that_left_something_keeps_it(tmp_path):
    with pytest.raises(X2EditError, match="refused"), claimed(tmp_path / "runs" / "a"):
        raise X2EditError("refused")
    assert not list(tmp_path.iterdir())
    with pytest.raises(X2EditError, match="refused"), claimed(tmp_path / "runs" / "a"):
        (tmp_path / "runs" / "a" / "skipped.txt").write_bytes(b"why")
        raise X2EditError("refused")
    assert (tmp_path / "runs" / "a" / "skipped.txt").exists()
    (tmp_path / "mine").mkdir()
    with claimed(tmp_path / "mine"):
        pass
    assert (tmp_path / "mine").is_dir(), "a folder that was there before stays"


def test_an_interrupted_save_leaves_nothing(tmp_path):
    write_state(tmp_path, 0)
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "state-0000001.pt") as part:
        part.write_bytes(b"half")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["state-0000001.pt"]
    assert load_newest(tmp_path)["step"] == 0


@pytest.fixture
def listings(monkeypatch):
    """Folders whose names were read, in order; no folder counts as looked through before."""
    found, scandir = [], os.scandir

    def counted(folder):
        found.append(Path(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", counted)
    monkeypatch.setattr(files, "_swept", {})
    return found


def leave_part(folder, name, age_s=7200.0):
    part = folder / f".{name}.part"
    part.write_bytes(b"half")
    os.utime(part, (time.time() - age_s,) * 2)
    return part


def test_what_a_kill_left_goes_with_a_later_save_but_not_what_another_is_writing(tmp_path, listings):
    leave_part(tmp_path, "own.safetensors.0123abcd")
    leave_part(tmp_path, "other.safetensors.89abcdef")
    kept = [leave_part(tmp_path, "own.safetensors.00000000", age_s=0), leave_part(tmp_path, "of another program")]
    write_adapter(tmp_path, 0)
    assert set(tmp_path.iterdir()) == {tmp_path / "own.safetensors", *kept}
    assert listings == [tmp_path]


def test_a_folder_is_looked_through_once_however_many_saves_go_there(tmp_path, listings):
    """A cache of a data set holds tens of thousands of files: reading their names at each save takes longer than saving."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for number in range(30):
        for folder in folders:
            with replacing(folder / f"{number}.safetensors") as part:
                part.write_bytes(b"whole")
    assert listings == folders


def test_after_a_while_it_is_looked_through_again(tmp_path, listings, monkeypatch):
    """A server runs for months; what another one's kill leaves meanwhile goes too."""
    write_adapter(tmp_path, 0)
    part = leave_part(tmp_path, "own.safetensors.0123abcd")
    write_adapter(tmp_path, 1)
    assert part.exists()
    monkeypatch.setattr(files, "_swept", {name: at - 3601 for name, at in files._swept.items()})
    write_adapter(tmp_path, 0)
    assert not part.exists() and len(listings) == 2


def test_folders_looked_through_are_not_remembered_for_ever(tmp_path, listings, monkeypatch):
    monkeypatch.setattr(files, "_REMEMBERED", 3)
    for name in "abcdea":
        with replacing(tmp_path / name / "file") as part:
            part.write_bytes(b"whole")
    assert [folder.name for folder in listings] == list("abcdea") and len(files._swept) == 3


def test_saving_and_reading_at_once_never_meets_a_half_file(tmp_path):
    """Two savers of one file, as two servers on one models folder are, and a reader."""
    path = tmp_path / "own.safetensors"
    kept = [adapter(seed) for seed in (0, 1)]
    save_adapter(kept[0], path)
    savers = [threading.Thread(target=lambda a=a: [save_adapter(a, path) for _ in range(40)]) for a in kept]
    for saver in savers:
        saver.start()
    seen = set()
    while any(saver.is_alive() for saver in savers):
        found = load_adapter(path).state_dict()
        whole = [all(torch.equal(found[name], t) for name, t in one.state_dict().items()) for one in kept]
        assert any(whole)
        seen.add(whole.index(True))
    assert list(tmp_path.iterdir()) == [path]


HOLD = """
import sys, time
sys.path.append(sys.argv[1])
from pathlib import Path
from x2edit_core.train.checkpoints import claimed
with claimed(Path(sys.argv[2])):
    print("claimed", flush=True)
    time.sleep(600)
"""


def test_a_run_is_one_processs_until_that_is_gone(tmp_path):
    command = [sys.executable, "-c", HOLD, str(Path(__file__).parents[2]), str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline().strip() == "claimed"
            with pytest.raises(X2EditError, match="another training run"), claimed(tmp_path / "run"):
                pass
        finally:
            other.kill()
    with claimed(tmp_path / "run"):
        pass


@pytest.mark.skipif(os.name != "posix", reason="only there files have a umask")
def test_a_saved_file_can_be_read_by_whom_a_plain_file_can(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_adapter(tmp_path, 0)
    assert (tmp_path / "own.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
