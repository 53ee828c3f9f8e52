"""What a run writes down: losses, tasks and expert usage as CSV, a plot of the losses, and TensorBoard if wanted."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ..files import replacing

logger = logging.getLogger(__name__)
HELD_COLOUR = "#d06010"
_STEP = re.compile(r"[0-9]{1,18}")


class Table:
    """A CSV file with `step` first; rows of steps that a resumed run repeats are dropped."""

    def __init__(self, path: Path, columns: Sequence[str], resumed_at: int) -> None:
        self._path, self.columns = path, ["step", *columns]
        kept = [row for row in read_table(path) if int(row["step"]) <= resumed_at and list(row) == self.columns]
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            _write(part, "w", [self.columns, *([row[name] for name in self.columns] for row in kept)])

    def add(self, step: int, values: Mapping[str, float]) -> None:
        _write(self._path, "a", [[step, *(f"{values[name]:.7g}" for name in self.columns[1:])]])


def read_table(path: Path) -> list[dict[str, str]]:
    """The whole rows of a table, none where there is no file; a kill can cut the last one short."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace").replace("\0", "")
    rows = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))
    try:
        return [row for row in rows if _is_whole(row)]
    except csv.Error as error:
        logger.warning("%s is damaged (%s); it begins anew", path, error)
        return []


def _is_whole(row: Mapping[str | None, Any]) -> bool:
    """As many fields as columns, and the first of them a step."""
    return None not in row and None not in row.values() and bool(_STEP.fullmatch(row.get("step", "")))


def _write(path: Path, how: str, rows: Sequence[Sequence[Any]]) -> None:
    with path.open(how, newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


class Board:
    """TensorBoard, where it is wanted and installed."""

    def __init__(self, folder: Path, wanted: bool) -> None:
        self._writer: Any = None
        if wanted:
            try:
                from torch.utils.tensorboard import SummaryWriter

                self._writer = SummaryWriter(str(folder))
            except ImportError:
                logger.warning("TensorBoard is not installed: pip install tensorboard. The CSV files hold the same.")

    def add(self, step: int, values: Mapping[str, float]) -> None:
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def plot_losses(
    steps: Sequence[int],
    losses: Sequence[float],
    width: int = 768,
    height: int = 384,
    held: Sequence[tuple[int, float]] = (),
) -> Image.Image:
    """The losses over the steps, thin, their moving average, thick, and those of `held`-out samples, as dots on a line of
    their own colour; the vertical axis is logarithmic.

    Steps that were skipped have no loss and are left out.
    """
    known = [(step, loss) for step, loss in zip(steps, losses, strict=True) if np.isfinite(loss)]
    steps, losses = [step for step, _ in known], [loss for _, loss in known]
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    left, right, top, bottom = 64, width - 16, 24, height - 32
    draw.rectangle((left, top, right, bottom), outline="#888888")
    values = np.maximum(np.asarray(losses, dtype=float), 1e-9)
    if not len(values):
        draw.text((left + 8, top + 8), "no steps yet", fill="black")
        return sheet
    held = [(step, loss) for step, loss in held if step >= steps[0] and np.isfinite(loss) and loss > 0]
    whole = np.concatenate((values, np.asarray([loss for _, loss in held])))
    low, high = float(np.log10(whole.min())), float(np.log10(whole.max()))
    high = max(high, low + 0.05)
    span = max(steps[-1] - steps[0], 1)

    def points(series: np.ndarray, at: Sequence[int] = steps) -> list[tuple[float, float]]:
        shares = (np.log10(series) - low) / (high - low)
        return [
            (left + (step - steps[0]) / span * (right - left), bottom - float(share) * (bottom - top))
            for step, share in zip(at, shares, strict=True)
        ]

    smooth = _smoothed(values)
    if len(values) > 1:
        draw.line(points(values), fill="#b8c8e8", width=1)
        draw.line(points(smooth), fill="#2050b0", width=3)
    if held:
        dots = points(np.asarray([loss for _, loss in held]), [step for step, _ in held])
        draw.line(dots, fill=HELD_COLOUR, width=2)
        for x, y in dots:
            draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=HELD_COLOUR)
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * (bottom - top)
        draw.text((6, y - 6), f"{10 ** (low + share * (high - low)):.3g}", fill="black")
    draw.text((left, bottom + 8), str(steps[0]), fill="black")
    draw.text((right - 48, bottom + 8), str(steps[-1]), fill="black")
    told = f"; held out {held[-1][1]:.4g}" if held else ""
    draw.text((left + 8, 6), f"loss, at the end {smooth[-1]:.4g}{told}", fill="black")
    return sheet


def _smoothed(values: np.ndarray) -> np.ndarray:
    kept, smooth = 1 - 1 / max(2, len(values) / 20), values[0]
    result = []
    for value in values:
        smooth = kept * smooth + (1 - kept) * value
        result.append(smooth)
    return np.array(result)
