"""Questions to a person: opened in one thread, answered from another."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from PIL import Image

from x2edit_core.choosing import picker
from x2edit_core.choosing.picker import WaitingRoom
from x2edit_core.errors import X2EditError

RED, GREEN = Image.new("RGB", (6, 4), (255, 0, 0)), torch.zeros(4, 6, 3)


class Room(WaitingRoom):
    """A room with a bell that rings when its list changes, and a switch that interrupts."""

    def __init__(self):
        self.bell, self.stopped = threading.Event(), False
        self.owner, self.pages, self.looked = "page", {"page"}, threading.Event()
        super().__init__(self.bell.set, self._check, lambda: self.owner, self._is_there)

    def _is_there(self, name):
        there = name in self.pages
        self.looked.set()
        return there

    def leave(self):
        """The page is seen once, then gone."""
        assert self.looked.wait(10)
        self.pages.clear()

    def _check(self):
        if self.stopped:
            raise InterruptedError

    def opened(self):
        assert self.bell.wait(10)
        return self.questions()[0]


@pytest.fixture
def room():
    return Room()


@pytest.fixture
def asker(room):
    with ThreadPoolExecutor(1) as pool:
        yield lambda timeout=0.0: pool.submit(room.ask, "add a hat", RED, [RED, GREEN], timeout)
        room.stopped = True


def test_an_answer_from_elsewhere_ends_the_wait(room, asker):
    waiting = asker()
    question = room.opened()
    assert (question["title"], question["count"], question["remaining_s"]) == ("add a hat", 2, None)
    room.answer(question["id"], 1)
    assert waiting.result(10) == 1
    assert room.questions() == []


def test_pictures_are_served_while_the_question_is_open(room, asker):
    waiting = asker()
    id = room.opened()["id"]
    found = [Image.open(io.BytesIO(room.picture(id, index))).getcolors() for index in (-1, 0, 1)]
    assert found == [[(24, (255, 0, 0))], [(24, (255, 0, 0))], [(24, (0, 0, 0))]]
    room.answer(id, 0)
    waiting.result(10)
    with pytest.raises(X2EditError, match="No question"):
        room.picture(id, 0)


def test_time_runs_out(room, asker):
    waiting = asker(0.3)
    assert 0 <= room.opened()["remaining_s"] <= 0.3
    assert waiting.result(10) is None
    assert room.questions() == []


def test_an_interrupt_closes_the_question(room, asker):
    waiting = asker()
    room.opened()
    room.stopped = True
    with pytest.raises(InterruptedError):
        waiting.result(10)
    assert room.questions() == []


def test_the_first_answer_counts_and_wrong_ones_are_refused(room, asker):
    waiting = asker()
    id = room.opened()["id"]
    for wrong in (-1, 2):
        with pytest.raises(X2EditError, match="0 to 1"):
            room.answer(id, wrong)
    with pytest.raises(X2EditError, match="No question"):
        room.answer("other", 0)
    with pytest.raises(X2EditError, match="0 to 1"):
        room.picture(id, 2)
    room.answer(id, 1)
    assert waiting.result(10) == 1
    with pytest.raises(X2EditError, match="No question"):
        room.answer(id, 0)


def test_only_the_page_that_asked_sees_its_question(room, asker):
    waiting = asker()
    id = room.opened()["id"]
    assert [question["id"] for question in room.questions("page")] == [id]
    assert room.questions("another page") == room.questions("") == []
    assert room.count() == 1, "that something waits is known"
    assert [question["id"] for question in room.questions()] == [id], "a program sees all"
    room.answer(id, 1)
    assert waiting.result(10) == 1
    assert room.count() == 0


@pytest.mark.parametrize("owner", [None, "a page that never came"])
def test_a_question_that_nobody_can_see_is_given_up(room, asker, monkeypatch, owner):
    monkeypatch.setattr(picker, "NEVER_SEEN_S", 0.3)
    monkeypatch.setattr(picker, "LEFT_S", 1e9)
    room.owner = owner
    waiting = asker(0.0)
    assert room.opened()["remaining_s"] is None
    assert waiting.result(10) is None


def test_a_page_that_left_is_waited_for_longer_and_may_come_back(room, asker, monkeypatch):
    monkeypatch.setattr(picker, "NEVER_SEEN_S", 0.0)
    monkeypatch.setattr(picker, "LEFT_S", 3.0)
    waiting = asker(0.0)
    id = room.opened()["id"]
    room.leave()
    with pytest.raises(TimeoutError):
        waiting.result(0.5)
    room.pages.add("page")
    with pytest.raises(TimeoutError):
        waiting.result(4.0)
    room.answer(id, 0)
    assert waiting.result(10) == 0


def test_a_page_that_left_for_good_is_given_up(room, asker, monkeypatch):
    monkeypatch.setattr(picker, "LEFT_S", 0.3)
    waiting = asker(0.0)
    room.opened()
    room.leave()
    assert waiting.result(10) is None


def test_a_persons_own_time_holds_where_nobody_is_there(room, asker, monkeypatch):
    monkeypatch.setattr(picker, "NEVER_SEEN_S", 0.1)
    room.owner = None
    waiting = asker(1.0)
    with pytest.raises(TimeoutError):
        waiting.result(0.6)
    assert waiting.result(10) is None


def test_a_second_answer_in_the_same_moment_changes_nothing():
    """Both come before the asker looks: it is kept in `poll` meanwhile."""
    looking, go_on = threading.Event(), threading.Event()

    def poll():
        looking.set()
        assert go_on.wait(10)

    room = WaitingRoom(lambda: None, poll)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(room.ask, "add a hat", RED, [RED, GREEN], 0.0)
        assert looking.wait(10)
        id = room.questions()[0]["id"]
        room.answer(id, 1)
        room.answer(id, 0)
        go_on.set()
        assert waiting.result(10) == 1
