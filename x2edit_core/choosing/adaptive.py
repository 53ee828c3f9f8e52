"""The early filter's depth-first mode: as much as this edit needs, and no more (after ADE-CoT, arXiv 2603.00141).

The judge writes yes/no questions about the instruction once. After a first look at all candidates the most promising one
is taken further, with looks on the way at which it can fall behind another. The first finished candidate of which every
answer is yes ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from ..chat.protocol import printable
from ..errors import X2EditError
from . import area
from .referee import Answers, Candidate, Referee, Run

YES = 0.5
"""From this answer on it is a yes: answers go from 0, surely no, to 1, surely yes."""
FIRST, LATER = 14, (4, 2)
"""Looks come after these shares of the schedule, and at its end."""
FEW = 8
"""Below so many steps even one is a large part of a run: no candidate is worth a look before its end."""
APART = 0.75
"""A candidate whose change agrees with the others' less than this share of the best's agreement is given up."""
BEHIND = 0.05
"""A candidate that is being taken further is left for another only when it promises less than that by so much."""
HOPELESS = 0.35
"""Where no candidate's answers average so much at its last look, a second one is not finished."""

GENERAL = (
    "Is the instruction carried out completely?",
    "Is everything that the instruction does not concern the same as in the source?",
    "Is the edited picture free of artefacts, seams and distortions?",
)
"""What is asked where the judge could not write questions of its own."""

NO_PICTURE = (
    "Not one of {} candidates is a picture: all came out as not a number. Check the model's number format, the VAE and "
    "the adapter's strength."
)


def looks_of(steps: int, resumes: bool) -> list[int]:
    """The steps at which candidates are looked at; a run that begins anew each time is looked at once before its end."""
    if steps < FEW:
        return [steps]
    first, *later = (-(-steps // share) for share in (FIRST, *LATER))
    return sorted({first, *(later if resumes else []), steps})


@dataclass(frozen=True)
class Look:
    """What the judge said of candidate `number` at `step`: an answer to each question, or why there is none."""

    number: int
    step: int
    answers: tuple[float, ...]
    fault: str = ""
    agreement: float = 1.0
    """How far the candidate changes what the others change, at the first look."""

    @property
    def passed(self) -> bool:
        return bool(self.answers) and min(self.answers) >= YES

    @property
    def mean(self) -> float:
        """0–1; undecided where there is no answer."""
        return sum(self.answers) / len(self.answers) if self.answers else YES


class DepthFirst:
    """One run of the mode; `arrivals(candidates, step)` denoises and decodes them and yields those that are pictures."""

    def __init__(
        self,
        looks: Sequence[int],
        allowed: float,
        referee: Referee,
        arrivals: Callable[[Sequence[Candidate], int], Iterable[Candidate]],
        cost: Callable[[Run, int], int],
        source: Any = None,
    ) -> None:
        self._steps, self._allowed, self._referee = looks, allowed, referee
        self._arrivals, self._cost, self._source = arrivals, cost, source
        self._spent = 0
        self._last: dict[int, Look] = {}
        self._maps: dict[int, Any] = {}
        self.questions: tuple[str, ...] = ()
        self.record: list[Look] = []
        self.notes: list[str] = []

    def winner(self, candidates: Sequence[Candidate]) -> Candidate:
        """The finished candidate that passed, or the best of the finished ones."""
        self._ask_for_questions()
        open_ = self._pruned(self._looked(candidates, self._steps[0])) if len(self._steps) > 1 else list(candidates)
        finished: list[Candidate] = []
        following: Candidate | None = None
        while open_ and not any(self._last[item.number].passed for item in finished):
            following = self._following(open_, following)
            if finished and not self._worth_it(following):
                break
            self._looked([following], self._next(following))
            finished += [item for item in open_ if self._is_done(item)]
            open_ = [item for item in open_ if not self._is_done(item) and not item.run.broken]
        if not finished:
            raise X2EditError(NO_PICTURE.format(len(candidates)))
        return max(finished, key=self._promise)

    def _ask_for_questions(self) -> None:
        found, fault = self._referee.questions()
        self.questions = found or GENERAL
        if fault:
            self.notes.append(f"the judge wrote no questions, so general ones were asked: {fault}")

    def _pruned(self, candidates: list[Candidate]) -> list[Candidate]:
        """Without those that change something else than the rest does."""
        if len(self._maps) < 3:
            return candidates
        shares = dict(zip(self._maps, area.agreements(list(self._maps.values())), strict=True))
        self._last = {number: replace(look, agreement=shares[number]) for number, look in self._last.items()}
        self.record = list(self._last.values())
        return [item for item in candidates if shares[item.number] >= APART * max(shares.values())]

    def _looked(self, candidates: Sequence[Candidate], step: int) -> list[Candidate]:
        """Take them to `step` and let the judge look; those that are pictures come back."""
        self._spent += sum(self._cost(item.run, step) for item in candidates)
        asked: list[tuple[Candidate, Future[Answers]]] = []
        for item in self._arrivals(candidates, step):
            if step == self._steps[0] < self._steps[-1] and self._source is not None:
                self._maps[item.number] = area.changes(self._source, item.picture)
            asked.append((item, self._referee.answers(item, self.questions)))
        for item, answers in asked:
            found = answers.result()
            agreement = self._last[item.number].agreement if item.number in self._last else 1.0
            look = Look(item.number, step, tuple(found.values), printable(found.fault), agreement)
            self._last[item.number] = look
            self.record.append(look)
        return [item for item, _ in asked]

    def _promise(self, item: Candidate) -> tuple[float, ...]:
        look = self._last.get(item.number) or Look(item.number, 0, ())
        return look.passed and look.step == self._steps[-1], look.mean * look.agreement, look.step, -item.number

    def _following(self, open_: Sequence[Candidate], current: Candidate | None) -> Candidate:
        """Who is taken further: the one that is, unless another promises clearly more."""
        best = max(open_, key=self._promise)
        if current is not None and current in open_ and self._promise(best)[1] - self._promise(current)[1] < BEHIND:
            return current
        return best

    def _next(self, item: Candidate) -> int:
        return next(step for step in self._steps if step > item.run.done)

    def _is_done(self, item: Candidate) -> bool:
        return item.run.done >= self._steps[-1] and not item.run.broken

    def _worth_it(self, item: Candidate) -> bool:
        """Whether a further candidate can be finished within what is allowed, and has anything to hope for."""
        look = self._last.get(item.number)
        hopeless = look is not None and (not look.answers or look.mean < HOPELESS)
        return not hopeless and self._spent + self._cost(item.run, self._steps[-1]) <= self._allowed
