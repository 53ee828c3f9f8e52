"""The page of benchmarks says what the recorded figures say."""

from __future__ import annotations

from bench.page import PAGE, page


def test_the_page_is_made_from_the_figures():
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python3 tools/bench/page.py"
