"""The early filter: try several seeds a little, let a judge pick one, finish only that (ICEdit, section 3.3).

This is the bookkeeping alone: who is denoised how far, who meets whom, what it costs. Denoising and judging come as
arguments, so nothing here knows the host. One evaluation is one call of the model by the sampler for one candidate.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, Protocol

from ..errors import X2EditError
from .adaptive import FEW, NO_PICTURE, DepthFirst, Look, looks_of
from .referee import Candidate, Match, Panel, Referee, Run, champion_of, play_round

log = logging.getLogger(__name__)

Mode = Literal["paper", "continue", "halving", "adaptive"]
Order = Literal["champion", "tournament", "halving"]
MODES: tuple[Mode, ...] = ("paper", "continue", "halving", "adaptive")
ORDERS: tuple[Order, ...] = ("champion", "tournament", "halving")

RUNGS = 7
"""`halving` judges after every seventh of the schedule, rounded up to whole steps."""
SEED_RANGE = 2**64
BUDGET = 2.5


@dataclass(frozen=True)
class Plan:
    """What a person asked for. `early_steps` is the paper's m, `steps` its n; `halving` has steps of its own instead."""

    first_seed: int
    seeds: int = 6
    early_steps: int = 10
    steps: int = 50
    mode: Mode = "paper"
    order: Order = "champion"
    batched: bool = False
    budget: float = BUDGET
    """`adaptive`: no further candidate is finished beyond this many whole runs' steps."""

    def __post_init__(self) -> None:
        if self.seeds < 1 or self.steps < 1:
            raise X2EditError(f"{self.seeds} seeds and {self.steps} steps were asked for; both must be at least 1.")
        if self.mode in ("paper", "continue") and not 1 <= self.early_steps <= self.steps:
            raise X2EditError(
                f"early_steps is {self.early_steps}; expected 1 to {self.steps}, the number of steps of the final picture."
            )
        if self.mode not in MODES or self.order not in ORDERS:
            raise X2EditError(f"Mode {self.mode!r} with order {self.order!r} is not known: {MODES}, {ORDERS}.")

    @property
    def numbers(self) -> list[int]:
        """The candidates' seeds: the first one and those that follow it."""
        return [(self.first_seed + index) % SEED_RANGE for index in range(self.seeds)]

    def looks(self, resumes: bool) -> list[int]:
        """`adaptive`: the steps at which a candidate is looked at, the last being its end."""
        return looks_of(self.steps, resumes)

    @property
    def rungs(self) -> list[tuple[int, int]]:
        """`halving`: (how many candidates, up to which step), while more than one is left and steps remain."""
        found, alive, until = [], self.seeds, 0
        step = -(-self.steps // RUNGS)
        while alive > 1 and until < self.steps:
            until = min(until + step, self.steps)
            found.append((alive, until))
            alive = max(alive // 2, 1)
        return found

    def sampler_steps(self, resumes: bool) -> int:
        """Steps that the sampler takes in all, if no candidate is dropped; a run that cannot resume begins anew."""
        if self.mode == "paper":
            return self.seeds * self.early_steps + self.steps
        if self.mode == "adaptive":
            return round(max(self.budget, 1.0) * self.steps)
        rungs = self.rungs if self.mode == "halving" else [(self.seeds, self.early_steps)]
        stages = [*rungs, (1, self.steps)]
        if not resumes:
            # A run that is already complete needs no more steps.
            done = bool(rungs) and rungs[-1][1] == self.steps
            return sum(count * until for count, until in (rungs if done else stages))
        first, until = stages[0]
        return first * until + sum(count * (end - begin) for (_, begin), (count, end) in pairwise(stages))


class Denoiser(Protocol):
    """How runs are denoised."""

    @property
    def obstacle(self) -> str:
        """Why a run cannot go on from where it is, for the report; empty if it can."""
        ...

    def start(self, seed: int, steps: int) -> Run:
        """A fresh run over a whole schedule of `steps` steps."""
        ...

    def advance(self, runs: Sequence[Run], until: int) -> None:
        """Take all of `runs`, as one batch, to step `until`: sets done, evaluations and, for NaN, broken."""
        ...

    def preview(self, run: Run) -> Any:
        """The picture that `run` is heading for, as the judge takes it; sets broken where there is none."""
        ...


@dataclass
class Selection:
    """What came out: the winner, its finished run, and how it came about."""

    plan: Plan
    candidates: list[Candidate]
    matches: list[Match]
    winner: Candidate
    run: Run
    early_evaluations: int
    evaluations: int
    notes: list[str] = field(default_factory=list)
    questions: tuple[str, ...] = ()
    looks: list[Look] = field(default_factory=list)
    """What the judge was asked in `adaptive`, and what it answered."""

    @property
    def seed(self) -> int:
        return self.winner.run.seed

    @property
    def faults(self) -> list[Match]:
        return [match for match in self.matches if match.fault]

    @property
    def unjudged(self) -> str:
        """That the judge never worked, and what was kept; empty where one comparison has a verdict, or none was needed."""
        if self.looks and not any(look.answers for look in self.looks):
            fault = self.looks[-1].fault
            return f"no answer to any question; seed {self.seed} was kept. The judge's last error: {fault}"
        if not self.matches or len(self.faults) < len(self.matches):
            return ""
        kept = "the first seed was kept"
        if self.winner.number > 1:
            kept = f"seed {self.seed} was kept, the first that is a picture"
        return f"no verdict in any comparison; {kept}. The judge's last error: {self.faults[-1].fault}"

    def report(self) -> str:
        """All of it in words."""
        plan = self.plan
        return "\n".join(
            [
                *([f"WARNING: {self.unjudged}"] if self.unjudged else []),
                f"Winner: seed {self.seed}, candidate {self.winner.number} of {plan.seeds}",
                *(self._spent_on_looks() if plan.mode == "adaptive" else self._spent_on_matches()),
                *(f"Note: {note}" for note in self.notes),
                "Candidates:",
                *(f"  {item.number}: seed {item.run.seed}{_dropped(item)}" for item in self.candidates),
                *_listed("Questions:", (f"{n}: {text}" for n, text in enumerate(self.questions, 1))),
                *_listed("Looks:", map(_seen, self.looks)),
                *_listed("Comparisons:", map(_told, self.matches)),
            ]
        )

    def _spent_on_matches(self) -> list[str]:
        plan = self.plan
        when = (
            f"every {plan.rungs[0][1]} steps" if plan.mode == "halving" and plan.rungs else f"{plan.early_steps} steps"
        )
        order = "" if plan.mode == "halving" else f", {plan.order}"
        final = self.evaluations - self.early_evaluations
        return [
            f"Mode: {plan.mode}{order}, judged after {when} of {plan.steps}",
            f"Evaluations: {self.evaluations} = {self.early_evaluations} before the choice + {final} after it",
        ]

    def _spent_on_looks(self) -> list[str]:
        own = self.run.evaluations
        passed = "every answer is yes" if self.looks and _last(self).passed else "not every answer is yes"
        return [
            f"Mode: adaptive, {self.plan.steps} steps; of the winner {passed}",
            f"Evaluations: {self.evaluations} = {own} of the winner + {self.evaluations - own} of others",
        ]


def _last(selection: Selection) -> Look:
    return next(look for look in reversed(selection.looks) if look.number == selection.winner.number)


def _listed(title: str, lines: Iterable[str]) -> list[str]:
    found = [f"  {line}" for line in lines]
    return [title, *found] if found else []


def _seen(look: Look) -> str:
    if look.fault:
        return f"{look.number} at step {look.step}: no answers, as the judge failed: {look.fault}"
    answers = " ".join(f"{answer:.2f}" for answer in look.answers)
    apart = "" if look.agreement == 1.0 else f", changes {look.agreement:.0%} of what the others do"
    return f"{look.number} at step {look.step}: {answers}{' → passed' if look.passed else ''}{apart}"


def _dropped(candidate: Candidate) -> str:
    return ", dropped: not a number" if candidate.run.broken else ""


def _told(match: Match) -> str:
    players = " – ".join(str(player) for player in match.players)
    if match.fault:
        return f"{players} → {match.winner} stays, as the judge failed: {match.fault}"
    return f"{players} → {match.winner}{f': {match.reason}' if match.reason else ''}"


def select(plan: Plan, denoiser: Denoiser, panel: Panel) -> Selection:
    """Denoise, judge, finish the winner. Raises `X2EditError` when not one candidate is a picture."""
    return _Filter(plan, denoiser, panel).select()


class _Filter:
    def __init__(self, plan: Plan, denoiser: Denoiser, panel: Panel) -> None:
        self.plan, self.denoiser, self.panel = plan, denoiser, panel
        length = plan.early_steps if plan.mode == "paper" else plan.steps
        runs = [denoiser.start(seed, length) for seed in plan.numbers]
        self.candidates = [Candidate(number, run) for number, run in enumerate(runs, 1)]
        self.notes: list[str] = []

    def select(self) -> Selection:
        if self.plan.mode == "adaptive":
            return self._told(self._depth_first())
        with Referee(self.panel) as referee:
            winner = self._rungs(referee) if self.plan.mode == "halving" else self._one_look(referee)
        self.panel.dismiss()
        early = sum(item.run.evaluations for item in self.candidates)
        extra: list[Run] = []
        winner, run = self._finish([winner, *reversed(referee.losers)], extra)
        total = sum(run.evaluations for run in [*extra, *(item.run for item in self.candidates)])
        self._explain(referee)
        return self._told(Selection(self.plan, self.candidates, referee.matches, winner, run, early, total, self.notes))

    def _told(self, selection: Selection) -> Selection:
        if selection.unjudged:
            log.warning("Early filter: %s", selection.unjudged)
        return selection

    def _depth_first(self) -> Selection:
        """Answers to questions in the place of comparisons; candidates that were never begun stay without a picture."""
        plan, resumes = self.plan, not self.denoiser.obstacle
        if self.panel.questions is None or self.panel.answers is None:
            raise X2EditError(
                f"Mode adaptive asks yes/no questions about single edits, which {self.panel.name} does not answer. "
                "Connect X2Edit Judge, or choose another mode."
            )

        def cost(run: Run, until: int) -> int:
            return max(0, until - run.done) if resumes else until

        with Referee(self.panel) as referee:
            search = DepthFirst(
                plan.looks(resumes), plan.budget * plan.steps, referee, self._pictures, cost, self.panel.source
            )
            winner = search.winner(self.candidates)
        self.panel.dismiss()
        if plan.steps < FEW:
            self.notes.append(
                f"{plan.steps} steps leave nothing to prune: each candidate was finished before it was looked at."
            )
        self.notes += search.notes
        self._explain(referee)
        others = sum(item.run.evaluations for item in self.candidates if item is not winner)
        total = others + winner.run.evaluations
        selection = Selection(self.plan, self.candidates, [], winner, winner.run, others, total, self.notes)
        selection.questions, selection.looks = search.questions, search.record
        return selection

    def _one_look(self, referee: Referee) -> Candidate:
        """All candidates at the same early step, judged in the order that was asked for."""
        arrivals = self._arrivals(self.candidates, self.plan.early_steps)
        if self.plan.order == "champion":
            return champion_of(arrivals, referee)
        alive = play_round(arrivals, referee, 1, self.plan.order == "halving")
        return self._knock_out(alive, referee, 2)

    def _rungs(self, referee: Referee) -> Candidate:
        """Denoise a little further at every rung, and keep the better half."""
        alive, round = self.candidates, 0
        for round, (_, until) in enumerate(self.plan.rungs, 1):
            if len(alive) > 1:
                alive = play_round(self._arrivals(alive, until), referee, round, True)
        if not round:
            return next(iter(self._arrivals(alive, self.plan.steps)))
        return self._knock_out(alive, referee, round + 1)

    def _knock_out(self, alive: list[Candidate], referee: Referee, round: int) -> Candidate:
        while len(alive) > 1:
            alive = play_round(alive, referee, round, self.plan.order == "halving" or self.plan.mode == "halving")
            round += 1
        return alive[0]

    def _arrivals(self, candidates: Sequence[Candidate], until: int) -> Iterable[Candidate]:
        """The candidates at step `until`: as they come for a remote judge. For a judge on this machine all are denoised,
        then all decoded, then judged, so that the models push one another out of memory once each and not every time."""
        sound = 0
        for item in self._pictures(candidates, until):
            sound += 1
            yield item
        if not sound:
            raise X2EditError(NO_PICTURE.format(len(candidates)))

    def _pictures(self, candidates: Sequence[Candidate], until: int) -> Iterable[Candidate]:
        """Those of the candidates that are pictures at step `until`."""
        denoised = self._denoised(candidates, until)
        if self.panel.remote:
            return self._decoded(denoised)
        return list(self._decoded(list(denoised)))

    def _denoised(self, candidates: Sequence[Candidate], until: int) -> Iterator[Candidate]:
        for group in [candidates] if self.plan.batched else [[item] for item in candidates]:
            self.denoiser.advance([item.run for item in group], until)
            yield from group

    def _decoded(self, candidates: Iterable[Candidate]) -> Iterator[Candidate]:
        for item in candidates:
            picture = None if item.run.broken else self.denoiser.preview(item.run)
            if item.run.broken:
                self.notes.append(f"candidate {item.number} (seed {item.run.seed}) came out as not a number.")
                continue
            item.picture = picture
            yield item

    def _finish(self, ranking: Sequence[Candidate], extra: list[Run]) -> tuple[Candidate, Run]:
        """The best candidate whose remaining steps hold. Runs begun anew are added to `extra`."""
        for candidate in ranking:
            run = candidate.run
            if self.plan.mode == "paper":
                run = self.denoiser.start(run.seed, self.plan.steps)
                extra.append(run)
            self.denoiser.advance([run], self.plan.steps)
            if not run.broken:
                return candidate, run
            candidate.run.broken = True
            self.notes.append(
                f"candidate {candidate.number} won, but became not a number later; the next one took over."
            )
        raise X2EditError("Every candidate became not a number before its last step; nothing is left to return.")

    def _explain(self, referee: Referee) -> None:
        """What a person should know about how the picture was made."""
        if self.plan.batched and self.plan.mode != "paper":
            self.notes.append(
                "the candidates were denoised as one batch, so the result can differ from a plain run of this seed in the "
                "last bits."
            )
        if self.denoiser.obstacle and self.plan.mode != "paper":
            self.notes.append(f"the winner was run again from its seed, as {self.denoiser.obstacle}.")
        faults = sum(bool(match.fault) for match in referee.matches)
        if referee.matches and all(match.tie for match in referee.matches):
            self.notes.append(
                "every comparison was a tie, so the judge chose nothing; the earlier candidate stayed each time."
            )
        if faults:
            self.notes.append(
                f"the judge failed in {faults} of {len(referee.matches)} comparisons; the earlier candidate stayed each time."
            )
