"""Names that come from elsewhere: what may become a file's name, and what stays inside its folder."""

from __future__ import annotations

import os

import pytest

from x2edit_core.errors import X2EditError
from x2edit_core.files import replacing
from x2edit_core.paths import LONGEST_PART, file_inside, plain_name, reaches_network_or_device, without_suffix


@pytest.mark.parametrize(
    "name",
    [
        "my_edit",
        "styles/my edit",
        "Édition 2.1",
        "剪辑",
        "a..b",
        "...x",
        "剪" * 66,
        "console",
        "nullify",
        "com10",
        "X",
        "MAX",
        "x" * LONGEST_PART,
        "aux_1",
    ],
)
def test_plain_names_stay(name):
    assert plain_name(name, "The name") == name


def test_either_separator_is_read():
    assert plain_name("styles\\one", "The name") == "styles/one"


ESCAPES = ["", ".", "..", "../a", "a/../b", "/a", "a/", "a//b", "\\a", "..\\a", "C:\\a", "C:a", "\\\\server\\a", "a\0b",
           "a\nb", "a/ ", "nul:", "a*", "x" * (LONGEST_PART + 1), "剪" * 80, "é" * 101, "😀" * 51, "nul", "CON", "aux.txt",
           "styles/Com1.safetensors", "lpt³", "NUL .x", "conin$", "con.tar.gz", "a.", "a ", "styles./a", "\ud800"]  # fmt: skip


@pytest.mark.parametrize("name", ESCAPES)
def test_others_are_refused_on_every_system(name):
    with pytest.raises(X2EditError, match=r"The name .* cannot be a file's name"):
        plain_name(name, "The name")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("good/a*/b", "'a*'"),
        ("good/x./b|", "'x.'"),
        ("NUL.txt/a", "'NUL.txt'"),
        ("a/" + "é" * 101, "'" + "é" * 20 + "…' takes 202 bytes, 200"),
    ],
)
def test_the_first_part_at_fault_is_named(name, part):
    with pytest.raises(X2EditError) as caught:
        plain_name(name, "The name")
    assert part in str(caught.value)


def test_a_name_that_is_allowed_can_be_saved_under_with_every_suffix_it_gets(tmp_path):
    """The longest name, in letters of several bytes, as a run's folder, an adapter and an AlignNet, through `replacing`."""
    name = plain_name("剪" * (LONGEST_PART // 3), "The name")
    for file in (f"{name}.safetensors", f"{name}_alignnet.bin", f"{name}/state-0000001.pt"):
        with replacing(tmp_path / file) as part:
            part.write_bytes(b"x")
        assert (tmp_path / file).read_bytes() == b"x"


@pytest.mark.parametrize("name", ["x", "x.safetensors", "x.SafeTensors", "x.safetensors.safetensors"])
def test_a_suffix_is_not_added_twice(name):
    assert without_suffix(name, ".safetensors") == "x"


NETWORK = ["\\\\server\\share", "//server/share", "\\/server/a", "/\\server", "\\\\?\\C:\\a", "\\\\.\\pipe\\x", " //server/a", "file://x/a",
           "NUL", "C:\\data\\con", "a/aux.txt", "a/prn ./b", "https://x/a.jsonl"]  # fmt: skip


@pytest.mark.parametrize("name", NETWORK)
def test_paths_that_would_reach_out_are_known_by_their_name(name):
    assert reaches_network_or_device(name)


@pytest.mark.parametrize(
    "name", ["/data/pairs", "pairs", "C:\\data\\pairs", "./a/../b", "a//b", "X/auxX", "数据/pairs.jsonl", "~/x"]
)
def test_other_paths_do_not(name):
    assert not reaches_network_or_device(name)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.png").write_bytes(b"a")
    (tmp_path / "secret").write_bytes(b"s")
    return folder


def link(path, target):
    try:
        path.symlink_to(target)
    except OSError:
        pytest.skip("this system makes no links for this user")


@pytest.mark.parametrize("name", ["sub/a.png", "./sub/a.png", "sub/../sub/a.png"])
def test_files_inside_are_found(folder, name):
    assert file_inside(folder, name).read_bytes() == b"a"


def test_an_absolute_name_inside_is_inside(folder):
    assert file_inside(folder, folder / "sub" / "a.png").read_bytes() == b"a"


@pytest.mark.parametrize("name", ["../secret", "sub/../../secret", "../data2/x"])
def test_names_that_lead_out_are_refused(folder, name):
    with pytest.raises(X2EditError, match="leads out of"):
        file_inside(folder, name)
    with pytest.raises(X2EditError, match="leads out of"):
        file_inside(folder, folder.parent / "secret")


def test_links_inside_are_followed_and_may_not_lead_out(folder):
    link(folder / "in", folder / "sub")
    link(folder / "out", folder.parent / "secret")
    link(folder / "round", folder / "round")
    assert file_inside(folder, "in/a.png").read_bytes() == b"a"
    with pytest.raises(X2EditError, match="leads out of"):
        file_inside(folder, "out")
    with pytest.raises(X2EditError):
        file_inside(folder, "round")


def test_the_folder_itself_may_be_a_link(folder):
    link(folder.parent / "linked", folder)
    assert file_inside(folder.parent / "linked", "sub/a.png").read_bytes() == b"a"


@pytest.mark.parametrize("name", ["none", "sub", "a\0b", "x" * 5000])
def test_what_is_no_file_is_refused(folder, name):
    with pytest.raises(X2EditError) as caught:
        file_inside(folder, name)
    assert repr(name[:LONGEST_PART])[1:-1] in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_no_file(folder):
    os.mkfifo(folder / "pipe")
    with pytest.raises(X2EditError, match="no file"):
        file_inside(folder, "pipe")
