"""Who meets whom among the candidates, and how a judge that fails or takes its time is lived with."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, cast

from ..chat.protocol import printable
from .judge import Pick, Verdict

log = logging.getLogger(__name__)

QUESTIONS_AT_ONCE = 4


@dataclass(eq=False)
class Run:
    """One seed on a schedule of `steps` steps, `done` of which are taken; `state` is the denoiser's own."""

    seed: int
    steps: int
    done: int = 0
    evaluations: int = 0
    broken: bool = False
    state: Any = None


@dataclass(frozen=True)
class Answers:
    """A judge's answers to yes/no questions, each from 0, surely no, to 1, surely yes; with a `fault` there are none."""

    values: Sequence[float] = ()
    fault: str = ""


@dataclass(frozen=True)
class Panel:
    """The judge with everything but the candidates' pictures filled in.

    A judge that can look at all candidates at once has `choose`, one that can ask about a single edit `questions` and
    `answers`; `source` is the picture that was edited. While a `remote` one thinks, the next candidate is
    denoised. `dismiss` gives back the judge's memory. `passing` are exceptions that are no failure of the judge but end the
    run: the host's interrupt, which is an ordinary exception up to ComfyUI 0.18.
    """

    compare: Callable[[Any, Any], Verdict]
    choose: Callable[[Sequence[Any]], Pick] | None = None
    remote: bool = False
    dismiss: Callable[[], None] = lambda: None
    passing: tuple[type[BaseException], ...] = ()
    questions: Callable[[], Sequence[str]] | None = None
    answers: Callable[[Any, Sequence[str]], Sequence[float]] | None = None
    source: Any = None
    name: str = "this judge"


@dataclass(eq=False)
class Candidate:
    """Number 1 to M, its run, and the picture that was judged last."""

    number: int
    run: Run
    picture: Any = None


@dataclass(frozen=True)
class Match:
    """Who met whom in which round, by number, and who stayed in."""

    round: int
    players: tuple[int, ...]
    winner: int
    reason: str
    fault: str = ""
    tie: bool = False
    """Whether the judge answered, and found neither better."""


@dataclass(eq=False)
class Game:
    first: Candidate
    second: Candidate
    round: int
    verdict: Future[Verdict]


class _Background:
    """A few threads that end with the process: a pool of the standard library's keeps a quitting one until the last answer."""

    def __init__(self, threads: int, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{index}", daemon=True) for index in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        self._calls.put((future, call))
        return future

    def close(self) -> None:
        """Nothing further is begun; what runs is not waited for."""
        self._closed = True
        for _ in self._threads:
            self._calls.put((Future(), lambda: None))

    def _work(self) -> None:
        while not self._closed:
            future, call = self._calls.get()
            if self._closed or not future.set_running_or_notify_cancel():
                future.cancel()
                continue
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)


class Referee:
    """Puts questions to the panel, in the background if it is remote, and keeps the record."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._pool = _Background(QUESTIONS_AT_ONCE, "x2edit-judge") if panel.remote else None
        self.matches: list[Match] = []
        self.losers: list[Candidate] = []

    def __enter__(self) -> Referee:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.close()

    @property
    def chooses(self) -> bool:
        return self._panel.choose is not None

    @property
    def remote(self) -> bool:
        return self._panel.remote

    def ask(self, first: Candidate, second: Candidate, round: int) -> Game:
        return Game(first, second, round, self._submitted(lambda: self._compare(first.picture, second.picture)))

    def questions(self) -> tuple[tuple[str, ...], str]:
        """The judge's yes/no questions about this edit, and why there are none."""
        ask = cast(Callable[[], Sequence[str]], self._panel.questions)
        found = self._guarded(lambda: (tuple(ask()), ""), lambda fault: ((), fault))
        if found[1]:
            log.warning("The judge wrote no questions: %s", printable(found[1]))
        return found[0], printable(found[1])

    def answers(self, candidate: Candidate, questions: Sequence[str]) -> Future[Answers]:
        """What the judge says of the candidate's picture to each question."""
        ask = cast(Callable[[Any, Sequence[str]], Sequence[float]], self._panel.answers)
        picture = candidate.picture
        return self._submitted(
            lambda: self._guarded(
                lambda: Answers(_one_each(ask(picture, questions), questions)), lambda fault: _failed(candidate, fault)
            )
        )

    def _submitted(self, call: Callable[[], Any]) -> Future[Any]:
        """In the background if the judge is remote, else at once."""
        if self._pool is not None:
            return self._pool.submit(call)
        done: Future[Any] = Future()
        done.set_result(call())
        return done

    def settle(self, game: Game) -> Candidate:
        """Wait for the answer; the first of the two stays unless the second is better."""
        verdict = game.verdict.result()
        winner, loser = (game.second, game.first) if verdict.choice == "B" else (game.first, game.second)
        reason = verdict.reason if verdict.choice != "tie" else f"a tie, {verdict.reason}".rstrip(", ")
        tie = verdict.choice == "tie" and not verdict.fault
        self._record(game.round, (game.first, game.second), winner, reason, verdict.fault, tie)
        self.losers.append(loser)
        return winner

    def choose(self, candidates: Sequence[Candidate], round: int) -> Candidate:
        """One question over all of them."""
        choose = cast(Callable[[Sequence[Any]], Pick], self._panel.choose)
        pick = self._guarded(lambda: choose([item.picture for item in candidates]), lambda fault: Pick(0, fault=fault))
        winner = candidates[pick.index]
        self._record(round, candidates, winner, pick.reason, pick.fault)
        self.losers += [item for item in reversed(candidates) if item is not winner]
        return winner

    def _compare(self, first: Any, second: Any) -> Verdict:
        return self._guarded(lambda: self._panel.compare(first, second), lambda fault: Verdict("tie", fault=fault))

    def _guarded(self, call: Callable[[], Any], otherwise: Callable[[str], Any]) -> Any:
        """A judge may be anyone's code: whatever it fails with must not cost the run."""
        try:
            return call()
        except self._panel.passing:
            raise
        except Exception as error:
            return otherwise(f"{type(error).__name__}: {error}")

    def _record(
        self, round: int, players: Sequence[Candidate], winner: Candidate, reason: str, fault: str, tie: bool = False
    ) -> None:
        reason, fault = printable(reason), printable(fault)  # a judge's words go to nodes, files and terminals
        if fault:
            log.warning("The judge failed, candidate %d stays: %s", winner.number, fault)
        numbers = tuple(item.number for item in players)
        self.matches.append(Match(round, numbers, winner.number, reason, fault, tie))


def _one_each(values: Sequence[float], questions: Sequence[str]) -> tuple[float, ...]:
    found = tuple(float(value) for value in values)
    if len(found) != len(questions) or not all(0 <= value <= 1 for value in found):
        raise ValueError(f"{len(questions)} answers from 0 to 1 were expected; found {list(found)}")
    return found


def _failed(candidate: Candidate, fault: str) -> Answers:
    log.warning("The judge failed on candidate %d: %s", candidate.number, printable(fault))
    return Answers(fault=fault)


def champion_of(arrivals: Iterable[Candidate], referee: Referee) -> Candidate:
    """The best so far meets each that follows: M - 1 comparisons, one after the other."""
    if referee.chooses:
        everyone = list(arrivals)
        return referee.choose(everyone, 1) if len(everyone) > 1 else everyone[0]
    champion: Candidate | None = None
    game: Game | None = None
    round = 0
    for challenger in arrivals:
        champion = referee.settle(game) if game else champion
        if champion is None:
            champion = challenger
        else:
            round += 1
            game = referee.ask(champion, challenger, round)
    return referee.settle(game) if game else cast(Candidate, champion)


def play_round(arrivals: Iterable[Candidate], referee: Referee, round: int, odd_one_plays: bool) -> list[Candidate]:
    """Neighbours meet, each pair as soon as it is there. An odd one out moves on, or meets the last pair's winner,
    which leaves half of them, rounded down."""
    games: list[Game] = []
    waiting: Candidate | None = None
    for candidate in arrivals:
        if waiting is None:
            waiting = candidate
        else:
            games.append(referee.ask(waiting, candidate, round))
            waiting = None
    winners = [referee.settle(game) for game in games]
    if waiting is None:
        return winners
    if winners and odd_one_plays:
        return [*winners[:-1], referee.settle(referee.ask(winners[-1], waiting, round))]
    return [*winners, waiting]
