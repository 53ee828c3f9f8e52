from __future__ import annotations

import logging


def test_a_notice_is_said_once_and_memory_of_notices_is_bounded(pack, monkeypatch, caplog):
    notices = pack.core("comfy_bridge.notices")
    monkeypatch.setattr(notices, "_said", {})
    with caplog.at_level(logging.WARNING, "x2edit"):
        for _ in range(2):
            notices.say_once("first", "look")
        assert [record.message for record in caplog.records] == ["look"]
        for number in range(3 * notices.REMEMBERED):
            notices.say_once(f"other {number}", "look")
    assert len(notices._said) == notices.REMEMBERED
