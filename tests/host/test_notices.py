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


def test_words_on_a_node_are_those_of_its_own_run(pack, monkeypatch, caplog):
    from comfy_execution.utils import CurrentNodeContext

    notices, shown = pack.core("comfy_bridge.notices"), []
    monkeypatch.setattr(notices, "_words", (None, []))
    monkeypatch.setattr(notices, "show_on_node", lambda text, node: shown.append((node, text)))
    with CurrentNodeContext("one", "7"):
        notices.say("first")
        notices.say("second")
        notices.say("first")
        assert notices.with_notices("result") == "first\nsecond\nresult"
    with CurrentNodeContext("one", "8"):
        assert notices.with_notices("result") == "result"
        notices.say("other")
    with CurrentNodeContext("two", "8"):
        notices.say("again")
    notices.say("outside")
    assert shown == [("7", "first"), ("7", "first\nsecond"), ("7", "first\nsecond"), ("8", "other"), ("8", "again")]
    assert [record.message for record in caplog.records if record.name == "x2edit"][-1] == "outside"
