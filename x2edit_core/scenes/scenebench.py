"""How good an edit of a scene is, measured against the exact answer.

Three questions, kept apart: is the edited region right (`success`), is the rest untouched (`preservation_db`), how
near is the whole picture to the exact target (`psnr_db`). An edit that went through an autoencoder cannot be better
than the autoencoder, so its round trips of source and target count as equals of the originals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import X2EditError
from ..tasks import Task
from . import EditCase, Picture

RoundTrip = Callable[[Picture], Picture]
"""Encode and decode one uint8 picture [H, W, 3]."""

TOLERANCE = 0.3
"""Largest error in the edited region beyond the round trip's own, as a share of the change asked for."""
LOCAL_TOLERANCE = 0.5
"""The same for the worst window: what is missing in one place must not hide behind a background that is right."""
SLACK = 1 / 128
"""How far a pixel may be from where the target has it: an outline that is off by less looks the same."""
WINDOW = 1 / 8
"""Side of those windows; one counts where at least a quarter of it is in the edited region."""
BEST_DB = 60.0
"""What equality counts as."""
BORDER = 4 / 128
"""Width around the edited region that belongs to it: half a patch of the autoencoder."""
LEAST_REST = 0.02
"""Share of the picture that must be left over for preservation to mean anything."""


@dataclass(frozen=True)
class Score:
    """`preservation_db` is None where the edit is of the whole picture."""

    success: bool
    preservation_db: float | None
    psnr_db: float


@dataclass(frozen=True)
class Errors:
    """The three things that a right edit needs, each as an error over the most that is allowed: at most 1 where it holds.

    `done`: nearer to the target than to the source; `whole`: right over the region; `everywhere`: right in each window.
    """

    done: float
    whole: float
    everywhere: float

    @property
    def success(self) -> bool:
        return self.done < 1 and self.whole <= 1 and self.everywhere <= 1


def score(case: EditCase, output: Picture, round_trip: RoundTrip) -> Score:
    """Judge `output`, a uint8 picture of the case's size; raises `X2EditError` for another size.

    Success needs three things. Within the region and its border, where a wrong shape sticks out, the error is at most
    the round trip's own plus `TOLERANCE` of the change asked for, added as squares. The same holds with
    `LOCAL_TOLERANCE` in each window. And the output is nearer to the target than to the source. So the target and its
    round trip always succeed, the source and its round trip never.
    """
    right = errors(case, output, round_trip).success
    around, whole = _around(case), np.ones(case.region.shape, bool)
    kept = _preservation(output, round_trip(case.source), ~around)
    return Score(right, kept, _decibel(_mean_square(output, case.target, whole)))


def errors(case: EditCase, output: Picture, round_trip: RoundTrip) -> Errors:
    """How far `output` is from each thing that success needs (see `score`)."""
    if output.shape != case.target.shape:
        raise X2EditError(f"The edit has the shape {output.shape}; its case has {case.target.shape}.")
    before, after = round_trip(case.source), round_trip(case.target)
    to_target = min(_mean_square(output, picture, case.region) for picture in (case.target, after))
    to_source = min(_mean_square(output, picture, case.region) for picture in (case.source, before))
    return Errors(to_target / to_source if to_source else np.inf, *_nearness(case, output, after, _around(case)))


def _around(case: EditCase) -> NDArray[np.bool_]:
    return grown(case.region, round(BORDER * case.region.shape[1]))


def _nearness(case: EditCase, output: Picture, after: Picture, where: NDArray[np.bool_]) -> tuple[float, float]:
    """The error over all of `where`, and that of the worst window, over what is allowed there."""
    loss, asked = (_squares(one, case.target) for one in (after, case.source))
    error = _slack_squares(output, case.target)
    overall = asked[where].mean()
    allowed = loss[where].mean() + TOLERANCE**2 * overall
    local_error, local_loss, local_asked = (_window_means(values, where) for values in (error, loss, asked))
    local_allowed = local_loss + LOCAL_TOLERANCE**2 * np.maximum(local_asked, overall) + 1e-9
    worst = float((local_error / local_allowed).max(initial=0.0))
    return float(error[where].mean() / max(allowed, 1e-12)), worst


def _window_means(values: NDArray[np.float64], region: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Means of `values` over the region's part of each counting window; windows overlap by half."""
    side = max(2, round(WINDOW * region.shape[1]))
    inside = _window_sums(region.astype(float), side)
    counts = inside >= side * side / 4
    return _window_sums(values * region, side)[counts] / inside[counts]


def _window_sums(values: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    total = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    sums = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    return sums[:: side // 2, :: side // 2]


def _preservation(output: Picture, before: Picture, rest: NDArray[np.bool_]) -> float | None:
    return _decibel(_mean_square(output, before, rest)) if rest.mean() >= LEAST_REST else None


def grown(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """The mask and everything within that many steps of it, sideways or up and down."""
    for _ in range(pixels):
        around = np.pad(mask, 1)
        mask = mask | around[2:, 1:-1] | around[:-2, 1:-1] | around[1:-1, 2:] | around[1:-1, :-2]
    return mask


def _squares(first: Picture, second: Picture) -> NDArray[np.float64]:
    """Square differences of colours in 0…1, averaged over the channels; [H, W]."""
    return (((first.astype(float) - second) / 255) ** 2).mean(-1)


def _slack_squares(output: Picture, target: Picture) -> NDArray[np.float64]:
    """Square differences to the most similar pixel of the target within `SLACK`."""
    reach = max(1, round(SLACK * target.shape[1]))
    height, width = target.shape[:2]
    padded = np.pad(target, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    offsets = range(2 * reach + 1)
    shifts = (padded[down : down + height, right : right + width] for down in offsets for right in offsets)
    return np.minimum.reduce([_squares(output, shifted) for shifted in shifts])


def _mean_square(first: Picture, second: Picture, where: NDArray[np.bool_]) -> float:
    return float(_squares(first, second)[where].mean())


def _decibel(square: float) -> float:
    return min(BEST_DB, -10 * float(np.log10(max(square, 1e-12))))


def summary(scores: Iterable[tuple[Task, Score]]) -> dict[str, Any]:
    """`tasks.<name>` with success, preservation_db, psnr_db and count, and `average` over the tasks present."""
    by_task: dict[Task, list[Score]] = {}
    for task, one in scores:
        by_task.setdefault(task, []).append(one)
    tasks = {task.name.lower(): _row(found) for task, found in sorted(by_task.items(), key=lambda entry: entry[0].id)}
    columns = ("success", "preservation_db", "psnr_db")
    average = {name: _mean(row[name] for row in tasks.values()) for name in columns}
    return {"tasks": tasks, "average": {**average, "count": sum(row["count"] for row in tasks.values())}}


def _row(found: list[Score]) -> dict[str, Any]:
    return {
        "success": _mean(float(one.success) for one in found),
        "preservation_db": _mean(one.preservation_db for one in found),
        "psnr_db": _mean(one.psnr_db for one in found),
        "count": len(found),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
