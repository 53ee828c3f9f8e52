"""The public contract: saved graphs and API callers of any release keep working.

`tests/data/object_info.json` holds the schemas as last recorded; `python3 tools/dev.py record` records them anew and
refuses a change that breaks saved graphs. The host replaces nodes by id alone: to change what a node takes or gives, give
it a new id and register an `io.NodeReplace` for the old one.
"""

from __future__ import annotations

import json

import pytest
from devkit import records


@pytest.fixture(scope="module")
def recorded():
    return json.loads(records.CONTRACT.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def served(server):
    return records.contract(records.ours(server))


def test_nothing_that_saved_graphs_use_has_changed(server, recorded, served):
    assert records.breaks(recorded, served, server.get_json("/node_replacements")) == []


def test_record_is_up_to_date(recorded, served):
    assert served == recorded, f"schemas changed; look at them, then run: {records.COMMAND}"


def test_every_replacement_leads_to_a_node_that_exists(server, served):
    ours = {old: entries for old, entries in server.get_json("/node_replacements").items() if _is_ours(old)}
    for old, entries in ours.items():
        assert old not in served, f"{old} still exists, so the host never replaces it"
        assert entries and all(entry["new_node_id"] in served for entry in entries), old


def _is_ours(node_id):
    return node_id.startswith(("X2Edit", "ICEdit"))


def test_every_id_carries_the_packs_name(served):
    """Ids are one namespace for all packs of a host."""
    assert all(_is_ours(node_id) for node_id in served)
