"""The early filter's bookkeeping, with runs that are numbers and judges that are functions."""

from __future__ import annotations

import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from x2edit_core.choosing import seeds
from x2edit_core.choosing.judge import Pick, Verdict
from x2edit_core.choosing.referee import Panel, Run
from x2edit_core.choosing.seeds import Plan, select
from x2edit_core.choosing.tournament import draw_selection
from x2edit_core.errors import X2EditError


class Counting:
    """Denoises nothing and notes everything; `spoils` says which seed breaks at which step."""

    def __init__(self, obstacle="", spoils=None):
        self.obstacle, self.spoils, self.log = obstacle, spoils or {}, []

    def start(self, seed, steps):
        return Run(seed, steps)

    def advance(self, runs, until):
        for run in runs:
            begin = 0 if self.obstacle else run.done
            if run.done >= until:
                continue
            run.evaluations += until - begin
            run.done = until
            run.broken = until >= self.spoils.get(run.seed, until + 1)
        self.log.append((tuple(run.seed for run in runs), until))

    def preview(self, run):
        return run.seed


def higher(a, b):
    """The judge that likes large seeds."""
    return Verdict("A" if a > b else "B" if b > a else "tie", "the larger")


def likes(best):
    """A judge with a favourite: whoever is nearer to it."""
    return lambda a, b: Verdict("A" if abs(a - best) <= abs(b - best) else "B")


def play(plan, judge=higher, denoiser=None, **panel):
    denoiser = denoiser or Counting()
    return select(plan, denoiser, Panel(judge, **panel)), denoiser


COMPARING = [mode for mode in seeds.MODES if mode != "adaptive"]
ALL = [(mode, order) for mode in COMPARING for order in seeds.ORDERS]


@pytest.mark.parametrize(("mode", "order"), ALL)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7, 12])
@pytest.mark.parametrize("remote", [False, True])
def test_the_best_of_all_wins_after_m_minus_1_comparisons(mode, order, count, remote):
    for best in range(100, 100 + count):
        plan = Plan(100, count, 4, 28, mode, order)
        result, _ = play(plan, likes(best), remote=remote)
        assert result.seed == best
        assert len(result.matches) == count - 1
        lost = [set(match.players) - {match.winner} for match in result.matches]
        assert sorted(number for gone in lost for number in gone) == [
            item.number for item in result.candidates if item is not result.winner
        ]
        assert result.run.done == 28


@pytest.mark.parametrize("count", [1, 2, 6, 9])
@pytest.mark.parametrize("steps", [5, 28, 50])
@pytest.mark.parametrize("obstacle", ["", "it remembers"])
@pytest.mark.parametrize("mode", COMPARING)
def test_evaluations_are_as_the_plan_says(mode, steps, count, obstacle):
    for early in (1, 4, steps):
        plan = Plan(0, count, early, steps, mode)
        result, _ = play(plan, denoiser=Counting(obstacle))
        assert result.evaluations == plan.sampler_steps(not obstacle)


def test_evaluations_of_each_mode():
    """The formulas of the modes: M·m + n, M·m + n - m, and rungs of a seventh; a new run costs n more steps."""
    assert Plan(0, 6, 10, 50, "paper").sampler_steps(True) == 6 * 10 + 50
    assert Plan(0, 6, 10, 50, "continue").sampler_steps(True) == 6 * 10 + 50 - 10
    assert Plan(0, 6, 10, 50, "continue").sampler_steps(False) == 6 * 10 + 50
    assert Plan(0, 6, 10, 28, "continue").sampler_steps(True) <= 78
    assert Plan(0, 6, 10, 28, "halving").sampler_steps(True) == 6 * 4 + 3 * 4 + 20
    assert Plan(0, 6, steps=28, mode="halving").rungs == [(6, 4), (3, 8)]


def test_paper_mode_runs_the_winner_on_its_whole_schedule():
    result, denoiser = play(Plan(5, 3, 4, 20, "paper"))
    assert result.run.steps == 20 and result.winner.run.steps == 4
    assert denoiser.log == [((5,), 4), ((6,), 4), ((7,), 4), ((7,), 20)]


def test_continue_mode_goes_on_with_the_very_run_that_was_judged():
    result, denoiser = play(Plan(5, 3, 4, 20, "continue"))
    assert result.run is result.winner.run
    assert denoiser.log[-1] == ((7,), 20)
    assert result.early_evaluations == 12


def test_a_batch_is_denoised_at_once_and_said():
    result, denoiser = play(Plan(5, 4, 2, 6, "continue", batched=True))
    assert denoiser.log == [((5, 6, 7, 8), 2), ((8,), 6)]
    assert "last bits" in result.report()


def test_a_sampler_that_cannot_resume_is_said():
    result, _ = play(Plan(5, 2, 2, 6, "continue"), denoiser=Counting("it draws noise"))
    assert "run again from its seed, as it draws noise" in result.report()
    assert result.evaluations == 2 * 2 + 6


def test_seeds_wrap_around():
    assert Plan(2**64 - 1, 3).numbers == [2**64 - 1, 0, 1]


@pytest.mark.parametrize(
    "wrong",
    [{"seeds": 0}, {"steps": 0}, {"early_steps": 51}, {"early_steps": 0}, {"mode": "quick"}, {"order": "random"}],
)
def test_impossible_plans_are_refused(wrong):
    with pytest.raises(X2EditError):
        Plan(0, **wrong)


@pytest.mark.parametrize(("mode", "order"), ALL)
def test_a_broken_candidate_is_dropped(mode, order):
    result, _ = play(Plan(0, 6, 4, 28, mode, order), denoiser=Counting(spoils={5: 1, 0: 1}))
    assert result.seed == 4
    assert "candidate 6 (seed 5) came out as not a number" in result.report()
    assert all(not {1, 6} & set(match.players) for match in result.matches)


def test_a_winner_that_breaks_later_makes_room_for_the_next():
    result, _ = play(Plan(0, 4, 4, 28, "continue"), denoiser=Counting(spoils={3: 28}))
    assert result.seed == 2
    assert result.run.done == 28 and not result.run.broken
    assert "the next one took over" in result.report()


@pytest.mark.parametrize("mode", COMPARING)
def test_nothing_but_broken_candidates_is_an_error(mode):
    with pytest.raises(X2EditError, match="not a number"):
        play(Plan(0, 3, 2, 7, mode), denoiser=Counting(spoils={0: 1, 1: 1, 2: 1}))
    with pytest.raises(X2EditError, match="last step"):
        play(Plan(0, 3, 2, 7, mode), denoiser=Counting(spoils={0: 7, 1: 7, 2: 7}))


@pytest.mark.parametrize(("mode", "order"), ALL)
@pytest.mark.parametrize("remote", [False, True])
def test_a_judge_that_fails_keeps_the_first_and_says_so(mode, order, remote, caplog):
    def lost(a, b):
        raise OSError("connection lost")

    result, _ = play(Plan(10, 4, 2, 7, mode, order), lost, remote=remote)
    assert result.seed == 10
    assert len(result.faults) == 3
    assert "the judge failed in 3 of 3" in result.report()
    assert "connection lost" in result.report()
    assert "connection lost" in caplog.text


def test_one_failure_costs_one_comparison_only():
    def shy(a, b):
        return Verdict("tie", fault="no answer") if b == 1 else higher(a, b)

    result, _ = play(Plan(0, 4, 2, 7, "continue"), shy)
    assert result.seed == 3
    assert [bool(match.fault) for match in result.matches] == [True, False, False]


def test_a_judge_that_never_worked_is_the_first_thing_said(caplog):
    def silent(a, b):
        return Verdict("tie", fault="quota \x1b[2Jused up")

    result, _ = play(Plan(0, 4, 2, 7, "continue"), silent)
    assert result.report().startswith("WARNING: no verdict in any comparison; the first seed was kept.")
    assert "no verdict in any comparison; the first seed was kept" in caplog.text
    assert "used up" in caplog.text and "\x1b" not in caplog.text
    once, _ = play(Plan(0, 4, 2, 7, "continue"), lambda a, b: silent(a, b) if b == 1 else higher(a, b))
    assert "WARNING" not in once.report()
    alone, _ = play(Plan(0, 1, 2, 7, "continue"), silent)
    assert "WARNING" not in alone.report()


def test_a_judge_that_found_only_ties_is_told_as_such():
    result, _ = play(Plan(0, 5, 2, 7, "continue"), lambda a, b: Verdict("tie", "both orders disagree"))
    assert "Note: every comparison was a tie" in result.report()
    mixed, _ = play(Plan(0, 5, 2, 7, "continue"), lambda a, b: Verdict("tie") if b == 1 else higher(a, b))
    assert "every comparison" not in mixed.report()


def test_a_remote_judge_does_not_hold_a_quitting_process():
    """The process ends while a question is still unanswered; its time-out here is that of a machine, not of the judge."""
    program = (
        "import threading\n"
        "from x2edit_core.choosing.judge import Verdict\n"
        "from x2edit_core.choosing.referee import Candidate, Panel, Referee, Run\n"
        "asked = threading.Event()\n"
        "panel = Panel(lambda a, b: (asked.set(), threading.Event().wait(3600)) and Verdict('A'), remote=True)\n"
        "with Referee(panel) as referee:\n"
        "    referee.ask(Candidate(1, Run(0, 1)), Candidate(2, Run(1, 1)), 1)\n"
        "    asked.wait()\n"
        "print('left')\n"
    )
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "left\n"), ended.stderr


def test_ties_keep_the_earlier_candidate():
    result, _ = play(Plan(0, 5, 2, 7, "continue"), lambda a, b: Verdict("tie", "both orders disagree"))
    assert result.seed == 0
    assert not result.faults
    assert "a tie, both orders disagree" in result.report()


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("kind", [Exception, BaseException])
def test_an_interrupt_is_not_a_judges_failure(remote, kind):
    class Interrupt(kind):
        pass

    def stop(a, b):
        raise Interrupt

    with pytest.raises(Interrupt):
        play(Plan(0, 3, 2, 7, "continue"), stop, remote=remote, passing=(Interrupt,))


def test_a_remote_judge_thinks_while_the_next_candidate_is_denoised():
    """The first comparison ends only once the third candidate is being denoised: one at a time would hang."""
    third = threading.Event()

    class Waiting(Counting):
        def advance(self, runs, until):
            if runs[0].seed == 2:
                third.set()
            super().advance(runs, until)

    def slow(a, b):
        assert third.wait(20), "the third candidate waited for the verdict on the first two"
        return higher(a, b)

    result, _ = play(Plan(0, 3, 2, 7, "continue"), slow, Waiting(), remote=True)
    assert result.seed == 2 and not result.faults


def test_a_local_judge_begins_when_all_candidates_are_there():
    denoiser = Counting()
    seen = []

    def judge(a, b):
        seen.append(len(denoiser.log))
        return higher(a, b)

    play(Plan(0, 3, 2, 7, "continue"), judge, denoiser)
    assert seen == [3, 3]


class Used(Counting):
    """Notes which model would have to be in memory, one word a use."""

    def __init__(self):
        super().__init__()
        self.used = []

    def advance(self, runs, until):
        super().advance(runs, until)
        self.used.append("model")

    def preview(self, run):
        self.used.append("vae")
        return super().preview(run)

    def judge(self, a, b):
        self.used.append("judge")
        return higher(a, b)

    @property
    def swaps(self):
        return sum(one != other for one, other in pairwise(self.used))


@pytest.mark.parametrize("order", seeds.ORDERS)
@pytest.mark.parametrize("batched", [False, True])
def test_beside_a_local_judge_each_model_comes_into_memory_once(order, batched):
    used = Used()
    play(Plan(0, 6, 2, 7, "continue", order, batched), used.judge, used)
    assert used.swaps == 3, "denoised, decoded, judged, finished"


def test_at_each_rung_of_halving_too():
    used, plan = Used(), Plan(0, 6, mode="halving", steps=28)
    play(plan, used.judge, used)
    judged = sum(alive > 1 for alive, _ in plan.rungs)
    assert used.used.count("vae") == sum(alive for alive, _ in plan.rungs)
    assert used.swaps == 3 * judged


def test_a_remote_judge_is_shown_each_candidate_as_soon_as_it_is_there():
    used = Used()
    play(Plan(0, 3, 2, 7, "continue"), higher, used, remote=True)
    assert used.used == ["model", "vae"] * 3 + ["model"]


def test_a_judge_of_many_is_asked_once():
    asked = []

    def choose(pictures):
        asked.append(list(pictures))
        return Pick(1, "chosen by hand")

    result, _ = play(Plan(7, 4, 2, 7, "continue"), choose=choose)
    assert asked == [[7, 8, 9, 10]]
    assert result.seed == 8
    assert result.matches[0].players == (1, 2, 3, 4)


def test_the_judge_is_dismissed_before_the_final_steps():
    denoiser, at = Counting(), []
    play(Plan(0, 2, 2, 7, "continue"), denoiser=denoiser, dismiss=lambda: at.append(len(denoiser.log)))
    assert at == [2]


@pytest.mark.parametrize(("mode", "order"), ALL)
def test_the_sheet_has_every_candidate_and_marks_the_winner(mode, order):
    class Painting(Counting):
        def preview(self, run):
            from PIL import Image

            return Image.new("RGB", (32, 24), (10 * run.seed, 0, 90))

    result, _ = play(
        Plan(1, 7, 2, 7, mode, order),
        lambda a, b: higher(a.getpixel((0, 0)), b.getpixel((0, 0))),
        Painting(spoils={3: 1}),
    )
    assert result.seed == 7
    colours = {colour for _, colour in draw_selection(result).getcolors(1 << 20)}
    assert {(10 * seed, 0, 90) for seed in (1, 2, 4, 5, 6, 7)} <= colours
    assert (30, 0, 90) not in colours
    assert (30, 140, 60) in colours


@pytest.mark.parametrize(
    ("seeds", "steps", "rungs"),
    [(8, 10, [(8, 2), (4, 4), (2, 6)]), (2, 1, [(2, 1)]), (5, 15, [(5, 3), (2, 6)]), (9, 3, [(9, 1), (4, 2), (2, 3)])],
)
def test_a_rung_is_a_seventh_rounded_up(seeds, steps, rungs):
    assert Plan(0, seeds, steps=steps, mode="halving").rungs == rungs
