"""The pages of figures say what was recorded."""

from __future__ import annotations

from bench.page import MINIATURE, PAGE, miniature, page


def test_the_page_is_made_from_the_figures():
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python3 tools/bench/page.py"


def test_the_table_of_the_miniature_is_made_from_the_figures():
    text = MINIATURE.read_text(encoding="utf-8")
    assert text == miniature(text), "run: python3 tools/bench/page.py"
