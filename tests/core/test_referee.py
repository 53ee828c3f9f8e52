"""Who meets whom, in which round, and what is told of it; see `test_seeds` for who wins."""

from __future__ import annotations

import re
import threading

import pytest

from x2edit_core.choosing import seeds
from x2edit_core.choosing.judge import Pick, Verdict
from x2edit_core.choosing.seeds import Plan

from .test_seeds import Counting, higher, play


def met(result):
    return [(match.round, match.players, match.winner) for match in result.matches]


def test_the_champion_meets_each_in_a_round_of_its_own():
    result, _ = play(Plan(0, 4, 2, 7, "continue", "champion"))
    assert met(result) == [(1, (1, 2), 2), (2, (2, 3), 3), (3, (3, 4), 4)]


@pytest.mark.parametrize("remote", [False, True])
def test_neighbours_meet_round_by_round_and_an_odd_one_waits_or_plays(remote):
    tournament, _ = play(Plan(0, 5, 2, 7, "continue", "tournament"), remote=remote)
    assert met(tournament) == [(1, (1, 2), 2), (1, (3, 4), 4), (2, (2, 4), 4), (3, (4, 5), 5)]
    halving, _ = play(Plan(0, 5, 2, 7, "continue", "halving"), remote=remote)
    assert met(halving) == [(1, (1, 2), 2), (1, (3, 4), 4), (1, (4, 5), 5), (2, (2, 5), 5)]
    seven, _ = play(Plan(0, 7, 2, 7, "continue", "halving"), remote=remote)
    assert [match.round for match in seven.matches] == [1, 1, 1, 1, 2, 2]
    rungs, _ = play(Plan(0, 7, steps=4, mode="halving"), remote=remote)
    assert [match.round for match in rungs.matches] == [1, 1, 1, 1, 2, 2]


@pytest.mark.parametrize("order", seeds.ORDERS)
def test_rungs_that_run_out_of_steps_are_played_to_the_end(order):
    """Nine candidates in three steps: 9, 4, 2 at the rungs, whatever order was set beside the mode."""
    result, _ = play(Plan(0, 9, steps=2, mode="halving", order=order))
    assert [match.round for match in result.matches] == [1, 1, 1, 1, 1, 2, 2, 3]
    assert met(result)[4] == (1, (8, 9), 9)


def test_a_judge_of_many_is_not_asked_about_one():
    def never(pictures):
        raise AssertionError(pictures)

    alone, _ = play(Plan(7, 1, 2, 7, "continue"), choose=never)
    assert alone.seed == 7 and not alone.matches
    two, _ = play(Plan(7, 2, 2, 7, "continue"), choose=lambda pictures: Pick(1))
    assert met(two) == [(1, (1, 2), 2)]


def test_a_judge_of_many_that_fails_keeps_the_first_and_says_so():
    def lost(pictures):
        raise OSError("connection lost")

    result, _ = play(Plan(7, 3, 2, 7, "continue"), choose=lost)
    assert met(result) == [(1, (1, 2, 3), 1)]
    assert "connection lost" in result.matches[0].fault and "connection lost" in result.unjudged


def test_a_chosen_one_that_breaks_later_makes_room_for_the_first_of_the_others():
    spoils = {8: 7}
    result, _ = play(Plan(7, 4, 2, 7, "continue"), choose=lambda pictures: Pick(1), denoiser=Counting(spoils=spoils))
    assert result.seed == 7 and result.winner.number == 1
    assert [item.run.broken for item in result.candidates] == [False, True, False, False]


def test_a_failure_is_no_tie_and_a_tie_is_no_failure():
    def judge(a, b):
        if b == 1:
            raise OSError("lost")
        return Verdict("tie", "alike") if b == 2 else Verdict("tie") if b == 3 else higher(a, b)

    result, _ = play(Plan(0, 5, 2, 7, "continue"), judge)
    assert [(bool(match.fault), match.tie) for match in result.matches] == [
        (True, False), (False, True), (False, True), (False, False)]  # fmt: skip
    assert [match.reason for match in result.matches] == ["a tie", "a tie, alike", "a tie", "the larger"]
    assert [match.winner for match in result.matches] == [1, 1, 1, 5]


def asking():
    return [thread for thread in threading.enumerate() if thread.name.startswith("x2edit-judge-")]


def test_a_remote_judges_threads_end_with_the_choice_and_hold_nobody():
    seen = []

    def judge(a, b):
        seen.extend(asking())
        return higher(a, b)

    play(Plan(0, 3, 2, 7, "continue"), judge, remote=True)
    assert seen and all(thread.daemon for thread in seen)
    for thread in asking():
        thread.join(20)
    assert not asking()


def numbers(line):
    return [int(number) for number in re.findall(r"\d+", line)]


def test_a_report_gives_the_numbers_of_the_plan_the_candidates_and_the_comparisons():
    result, _ = play(Plan(10, 3, 4, 20, "paper", "tournament"), denoiser=Counting(spoils={11: 1}))
    lines = result.report().splitlines()
    assert numbers(lines[0]) == [12, 3, 3]
    assert numbers(lines[1]) == [4, 20] and "paper, tournament" in lines[1]
    assert numbers(lines[2]) == [32, 12, 20]
    candidates = lines.index("Candidates:")
    assert [numbers(line) for line in lines[candidates + 1 : candidates + 4]] == [[1, 10], [2, 11], [3, 12]]
    assert [line.endswith("dropped: not a number") for line in lines[candidates + 1 : candidates + 4]] == [
        False,
        True,
        False,
    ]
    assert lines[candidates + 4] == "Comparisons:" and lines[candidates + 5 :] == ["  1 – 3 → 3: the larger"]
    silent, _ = play(Plan(10, 2, 4, 20, "paper"), lambda a, b: Verdict("A"))
    assert silent.report().splitlines()[-1] == "  1 – 2 → 1"


def test_a_report_of_halving_tells_the_rungs_and_one_without_comparisons_ends_with_the_candidates():
    result, _ = play(Plan(0, 6, 10, 28, "halving", "champion"))
    line = result.report().splitlines()[1]
    assert numbers(line) == [4, 28] and "champion" not in line and "every" in line
    alone, _ = play(Plan(0, 1, 10, 28, "halving"))
    assert numbers(alone.report().splitlines()[1]) == [10, 28]
    assert numbers(alone.report().splitlines()[-1]) == [1, 0] and "every" not in alone.report()


@pytest.mark.parametrize(("count", "broken"), [(1, 1), (4, 4)])
def test_how_many_broke_is_said_where_all_did(count, broken):
    from x2edit_core.errors import X2EditError

    with pytest.raises(X2EditError) as caught:
        play(Plan(0, count, 2, 7, "continue"), denoiser=Counting(spoils=dict.fromkeys(range(count), 1)))
    assert numbers(str(caught.value))[0] == broken


def test_a_broken_run_is_never_decoded():
    shown = []

    class Noting(Counting):
        def preview(self, run):
            shown.append(run.seed)
            return run.seed

    play(Plan(0, 4, 2, 7, "continue"), denoiser=Noting(spoils={1: 1}))
    assert shown == [0, 2, 3]


def test_the_note_on_batches_is_for_results_that_went_on():
    going_on, _ = play(Plan(0, 3, 2, 7, "continue", batched=True))
    anew, _ = play(Plan(0, 3, 2, 7, "paper", batched=True))
    assert len(going_on.notes) == 1 and not anew.notes
