"""Words beside pictures: what bytes say is never guessed, and what is no text never becomes an instruction."""

from __future__ import annotations

import pytest

from x2edit_core.data.texts import decoded_text, instruction_of, lines_of, words_of
from x2edit_core.errors import X2EditError

WORDS = "把天空变成橙色, please"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_is_read_with_a_mark_and_without(encoding):
    words = "turn the sky orange 橙" if encoding in ("utf-16-le", "utf-16-be") else WORDS
    assert decoded_text(words.encode(encoding), "a.txt") == words


def test_a_mark_of_the_big_end_is_read():
    assert decoded_text(b"\xfe\xff" + WORDS.encode("utf-16-be"), "a.txt") == WORDS
    assert decoded_text(b"\x00\x00\xfe\xff" + WORDS.encode("utf-32-be"), "a.txt") == WORDS


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("把天空变成橙色".encode("gbk"), "GBK, as Chinese Windows writes: “把天空变成橙色”"),
        ('{"instruction": "把天空变成橙色"}'.encode("gb18030"), "GBK"),
        ("éclaircis le café".encode("cp1252"), "Windows-1252: “éclaircis le café”"),
        (b"\x80\x81\x82\xff\xff\xfe", "is no text in UTF-8"),
        (WORDS.encode("utf-16")[:-1], "is no text in UTF-16"),
    ],
)
def test_other_encodings_are_named_and_not_guessed(data, told):
    with pytest.raises(X2EditError, match=r"a\.txt is no text.*Save it as UTF-8") as error:
        decoded_text(data, "a.txt")
    assert told in str(error.value)


@pytest.mark.parametrize("value", [None, [], ["make it red"], {"en": "x"}, 3, 2.5, float("nan"), True, "", " \n", "﻿",
                                   "a\0b", "\ud83d"])  # fmt: skip
def test_what_is_no_instruction_never_becomes_words(value):
    with pytest.raises(X2EditError, match=r"^line 3: the instruction"):
        instruction_of(value, "line 3")


def test_only_ends_of_lines_part_lines():
    assert lines_of("one\u2028still\x0bone\x85\r\n\r\n two \rthree") == ["one\u2028still\x0bone", "two", "three"]
    words = words_of("﻿make it red\ncolor\nmore\nand more", "a.txt")
    assert (words.instruction, words.label, words.further) == ("make it red", "color", 2)
