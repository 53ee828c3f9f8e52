"""The pages of figures say what was recorded."""

from __future__ import annotations

from bench import ablation_page
from bench.page import MINIATURE, PAGE, miniature, page


def test_the_page_is_made_from_the_figures():
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python3 tools/bench/page.py"


def test_the_table_of_the_miniature_is_made_from_the_figures():
    text = MINIATURE.read_text(encoding="utf-8")
    assert text == miniature(text), "run: python3 tools/bench/page.py"


def test_the_tables_of_the_ablation_are_made_from_the_figures():
    text = ablation_page.PAGE.read_text(encoding="utf-8")
    assert text == ablation_page.page(text), "run: python3 tools/bench/ablation_page.py"


def test_spread_and_distance_of_the_ablation_are_what_they_are_called():
    """Two seeds of one arm, two edits that share half of their experts."""
    runs = [
        {"parameters": 1_500_000, "edits_db": {"a": first, "b": first + 4}, "wrong_task_db": {"a": 9.0, "b": 9.0},
         "usage": {"a": [0.5, 0.5, 0.0], "b": [0.0, 0.5, 0.5]}}
        for first in (18.0, 20.0)
    ]  # fmt: skip
    named = {"an arm": {"rate": 1e-3, "validation_db": {}, "runs": runs}}
    sizes = {"steps": 9, "batch": 8, "side": 64, "pairs": 7, "scored": 6}
    references = {
        "source": {"a": 5.0, "b": 6.0},
        "base, named": {"a": 10.0, "b": 11.0},
        "base, one sentence": {"a": 7.0, "b": 8.0},
    }
    figures = {"machine": {"device": "it", "torch": "2"}, **sizes, "references": references,
               "said": {"named": named, "one sentence": {}}}  # fmt: skip
    told = ablation_page.ablation_tables(figures)
    assert "| an arm | 1.50 M | 0.001 | 21.0 dB (20.0 … 22.0, 2 seeds) | 9.0 dB (9.0 … 9.0, 2 seeds) |" in told
    assert "| source |  |  | 5.5 dB |  | 5.5 dB |  |" in told and "| base |  |  | 10.5 dB |  | 7.5 dB |  |" in told
    assert "| an arm | 19.0 | 23.0 |" in told and "| an arm, told a wrong task | 9.0 | 9.0 |" in told
    assert "| an arm | with sentences that name the edit | 0.50 | 50% |" in told
