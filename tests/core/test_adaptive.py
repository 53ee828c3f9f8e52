"""The depth-first mode on runs that are numbers: who is taken further, when it ends, and what it costs."""

from __future__ import annotations

import pytest
import torch

from x2edit_core.choosing.adaptive import BEHIND, FEW, GENERAL, HOPELESS, Look, looks_of
from x2edit_core.choosing.area import CELLS, agreements, changes
from x2edit_core.choosing.judge import Verdict
from x2edit_core.choosing.referee import Panel
from x2edit_core.choosing.seeds import Plan, select
from x2edit_core.errors import X2EditError

from .test_seeds import Counting

ASKED = ("Is it there?", "Is it red?", "Is the rest the same?")


class Seen(Counting):
    """Shows (seed, step) as the picture."""

    def preview(self, run):
        return run.seed, run.done


def never(a, b):
    raise AssertionError("nobody is compared")


def play(answers, seeds=6, steps=28, denoiser=None, questions=lambda: ASKED, **options):
    """`answers(seed, step)` are the judge's."""
    denoiser = denoiser or Seen()
    told = {name: options.pop(name) for name in ("remote", "passing", "dismiss") if name in options}
    panel = Panel(never, questions=questions, answers=lambda picture, _: answers(*picture), name="a test", **told)
    return select(Plan(100, seeds, steps=steps, mode="adaptive", **options), denoiser, panel), denoiser


def alike(value):
    return [value] * 3


def test_looks_lie_at_shares_of_the_schedule():
    assert looks_of(28, True) == [2, 7, 14, 28]
    assert looks_of(50, True) == [4, 13, 25, 50]
    assert looks_of(28, False) == [2, 28], "where each look costs a run from the start, there is one"
    assert [looks_of(steps, True) for steps in (1, 4, FEW - 1)] == [[1], [4], [FEW - 1]]
    assert looks_of(8, True) == [1, 2, 4, 8]


@pytest.mark.parametrize("remote", [False, True])
def test_the_most_promising_is_finished_and_a_pass_ends_it(remote):
    result, _ = play(lambda seed, step: alike(0.9 if seed == 103 else 0.6), remote=remote)
    assert result.seed == 103 and result.run.done == 28 and result.matches == []
    assert result.evaluations == 6 * 2 + 26 and result.early_evaluations == 5 * 2
    assert [run.run.done for run in result.candidates] == [2, 2, 2, 28, 2, 2]
    assert [(look.number, look.step) for look in result.looks] == [(n, 2) for n in range(1, 7)] + [
        (4, 7),
        (4, 14),
        (4, 28),
    ]


def test_one_that_falls_behind_is_left_and_may_come_back():
    """Seed 100 looks best at first and worse at step 7; 101 takes over, and passes."""
    found = {(100, 2): 0.8, (100, 7): 0.5, (101, 2): 0.7}
    result, _ = play(lambda seed, step: alike(found.get((seed, step), 0.8 if seed == 101 else 0.4)))
    assert result.seed == 101
    assert [run.run.done for run in result.candidates] == [7, 28, 2, 2, 2, 2]
    assert result.evaluations == 4 * 2 + 7 + 28


def test_a_small_lead_of_another_does_not_change_horses():
    leader = {2: 0.7, 7: 0.6 - BEHIND * 0.9, 14: 0.6, 28: 0.6}
    result, _ = play(lambda seed, step: alike(leader[step] if seed == 100 else 0.6))
    assert [run.run.done for run in result.candidates] == [28, 2, 2, 2, 2, 2]


def test_no_pass_is_followed_by_another_within_the_budget():
    wrong_then_right = lambda seed, step: [0.9, 0.9, 0.4] if seed == 100 else alike(0.6)  # noqa: E731
    result, _ = play(wrong_then_right, budget=2.5)
    assert result.seed == 101 and result.evaluations == 6 * 2 + 26 + 26
    result, _ = play(wrong_then_right, budget=2.0)
    assert result.seed == 100 and result.evaluations == 6 * 2 + 26, "64 steps are more than twice 28"
    assert "not every answer is yes" in result.report()


def test_where_nothing_is_to_be_hoped_for_one_is_finished():
    result, _ = play(lambda seed, step: alike(HOPELESS - 0.01), budget=6.0)
    assert result.evaluations == 6 * 2 + 26 and result.seed == 100
    result, _ = play(lambda seed, step: alike(HOPELESS + 0.01), budget=6.0)
    assert [run.run.done for run in result.candidates] == [28] * 6


def test_the_best_of_those_that_did_not_pass_is_kept():
    finals = {100: 0.44, 101: 0.46, 102: 0.45}
    result, _ = play(lambda seed, step: alike(finals[seed] if step == 28 else 0.47), seeds=3, budget=9.0)
    assert result.seed == 101 and all(run.run.done == 28 for run in result.candidates)


def test_few_steps_are_finished_one_after_the_other_and_it_says_so():
    result, _ = play(lambda seed, step: alike(0.9 if seed == 101 else 0.4), steps=4)
    assert result.seed == 101 and result.evaluations == 8 and result.candidates[2].picture is None
    assert "4 steps leave nothing to prune" in result.report()
    result, _ = play(lambda seed, step: alike(0.4), steps=4, budget=3.0)
    assert result.evaluations == 12


def test_a_run_that_cannot_go_on_is_counted_as_it_is():
    result, _ = play(lambda seed, step: alike(0.9), denoiser=Seen(obstacle="it remembers"))
    assert result.evaluations == 6 * 2 + 28 and "run again from its seed" in result.report()


def test_a_broken_candidate_is_left_and_the_next_takes_over():
    result, _ = play(lambda seed, step: alike(0.9), denoiser=Seen(spoils={100: 2, 101: 14}))
    assert result.seed == 102
    assert "candidate 1 (seed 100) came out as not a number" in result.report()
    with pytest.raises(X2EditError, match="Not one of 3 candidates is a picture"):
        play(lambda seed, step: alike(0.9), seeds=3, denoiser=Seen(spoils=dict.fromkeys(range(100, 103), 14)))


@pytest.mark.parametrize("remote", [False, True])
def test_a_judge_that_never_answers_keeps_the_first_and_says_so(remote):
    def failing(seed, step):
        raise RuntimeError("the server is gone")

    result, _ = play(failing, remote=remote)
    assert result.seed == 100 and result.evaluations == 6 * 2 + 26
    assert result.report().startswith("WARNING: no answer to any question; seed 100 was kept.")
    assert "the server is gone" in result.report()


@pytest.mark.parametrize("answers", [[0.9, 0.9], [0.9, 0.9, 1.2], [0.9, 0.9, float("nan")]])
def test_answers_out_of_form_are_none(answers):
    result, _ = play(lambda seed, step: answers if seed == 100 else alike(0.9))
    assert result.seed == 101 and "no answers, as the judge failed" in result.report()


def test_a_judge_without_questions_is_asked_general_ones():
    def silent():
        raise RuntimeError("no JSON")

    result, _ = play(lambda seed, step: alike(0.9), questions=silent)
    assert result.questions == GENERAL and "general ones were asked: RuntimeError: no JSON" in result.report()


def test_a_judge_that_answers_no_questions_is_named():
    panel = Panel(lambda a, b: Verdict("A"), name="a person")
    with pytest.raises(X2EditError, match="which a person does not answer"):
        select(Plan(100, 3, steps=28, mode="adaptive"), Seen(), panel)


def test_an_interrupt_passes():
    class Stop(Exception):
        pass

    def stop(seed, step):
        raise Stop

    for remote in (False, True):
        with pytest.raises(Stop):
            play(stop, passing=(Stop,), remote=remote)


def test_the_judges_memory_is_given_back_once():
    given = []
    play(lambda seed, step: alike(0.9), dismiss=lambda: given.append(1))
    assert given == [1]


def test_the_report_shows_questions_and_looks():
    result, _ = play(lambda seed, step: [0.9, 0.2, 0.7] if step < 28 else alike(0.8), seeds=2)
    report = result.report()
    assert "  2: Is it red?" in report and "  1 at step 2: 0.90 0.20 0.70\n" in report
    assert "  1 at step 28: 0.80 0.80 0.80 → passed" in report and "every answer is yes" in report
    assert "Evaluations: 30 = 28 of the winner + 2 of others" in report


def test_a_pass_needs_every_answer():
    assert Look(1, 2, (0.5, 1.0)).passed and not Look(1, 2, (0.49, 1.0)).passed and not Look(1, 2, ()).passed


class Painted(Counting):
    """Five candidates change the left half, seed 102 the right one, and looks best to the judge."""

    def preview(self, run):
        picture = torch.zeros(48, 48, 3)
        columns = slice(24, 48) if run.seed == 102 else slice(0, 24)
        picture[:, columns] = 0.8 + 0.001 * run.seed / 100
        picture.seed = run.seed
        return picture


def test_a_candidate_that_changes_another_place_is_given_up():
    panel = Panel(
        never, questions=lambda: ASKED, source=torch.zeros(48, 48, 3),
        answers=lambda picture, _: alike(0.9 if picture.seed == 102 else 0.7),
    )  # fmt: skip
    result = select(Plan(100, 6, steps=28, mode="adaptive"), Painted(), panel)
    assert result.seed != 102 and result.candidates[2].run.done == 2
    assert "3 at step 2: 0.90 0.90 0.90 → passed, changes 0% of what the others do" in result.report()


def test_maps_of_change_and_how_they_agree():
    source, edit = torch.zeros(96, 64, 3), torch.zeros(48, 32, 3)
    edit[:24, :, 1] = 0.5
    found = changes(source, edit)
    assert found.shape == (CELLS, CELLS) and found[: CELLS // 2].eq(0.5).all() and not found[CELLS // 2 :].any()
    nothing = torch.zeros_like(found)
    assert agreements([found, found, found * 2, nothing]) == pytest.approx([1.0, 1.0, 0.5, 0.0])
    assert agreements([nothing, nothing, nothing]) == [1.0, 1.0, 1.0]
