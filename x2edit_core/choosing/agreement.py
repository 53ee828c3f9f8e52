"""How far a judge agrees with what is known of pairs of edits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from .judge import Choice, Judge, Verdict


@dataclass(frozen=True)
class Pair:
    """Two edits of one source, pictures as a judge takes them, and which of them is better."""

    name: str
    source: Any
    first: Any
    second: Any
    instruction: str
    better: Choice


Outcome = Literal["right", "wrong", "tie", "unusable"]


@dataclass(frozen=True)
class Asked:
    """What a judge said of one pair in the order given and turned around."""

    pair: Pair
    straight: Verdict
    turned: Verdict

    @property
    def outcomes(self) -> tuple[Outcome, Outcome]:
        return _outcome(self.pair.better, self.straight), _outcome(_TURNED[self.pair.better], self.turned)

    @property
    def by_place(self) -> str:
        """ "A" or "B" where the same place won in either order, else empty."""
        same = self.straight.choice == self.turned.choice != "tie"
        return self.straight.choice if same else ""


_TURNED: dict[Choice, Choice] = {"A": "B", "B": "A", "tie": "tie"}


def _outcome(better: Choice, verdict: Verdict) -> Outcome:
    if verdict.fault:
        return "unusable"
    if verdict.choice == better:
        return "right"
    return "tie" if verdict.choice == "tie" else "wrong"


def ask(judge: Judge, pairs: Iterable[Pair], each: Callable[[Asked], None] = lambda _: None) -> list[Asked]:
    """Every pair in both orders."""
    found: list[Asked] = []
    for pair in pairs:
        straight = judge.compare(pair.source, pair.first, pair.second, pair.instruction)
        found.append(Asked(pair, straight, judge.compare(pair.source, pair.second, pair.first, pair.instruction)))
        each(found[-1])
    return found


def figures(asked: list[Asked]) -> dict[str, float]:
    """Shares of all questions: `accuracy` (ties half right, as by a coin), `right`, `wrong`, `ties` and `unusable`; shares of
    the pairs: `first_place` and `second_place`, the same place having won in either order."""
    outcomes = [outcome for one in asked for outcome in one.outcomes]
    if not outcomes:
        return {"pairs": 0}
    shares = {name: outcomes.count(name) / len(outcomes) for name in ("right", "wrong", "tie", "unusable")}
    places = [one.by_place for one in asked]
    return {
        "pairs": len(asked),
        "accuracy": shares["right"] + 0.5 * (shares["tie"] + shares["unusable"]),
        "right": shares["right"],
        "wrong": shares["wrong"],
        "ties": shares["tie"],
        "unusable": shares["unusable"],
        "first_place": places.count("A") / len(places),
        "second_place": places.count("B") / len(places),
    }
