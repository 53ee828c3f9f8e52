"""Everything that can be measured on one edit, by name: what the evaluation writes and what the node reports.

Which measures there are depends on what is given: a target, a mask, an encoder, a vision model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from ..chat import ChatError
from ..errors import X2EditError
from ..pixels import cycle, resize, resize_mask, size_of, to_rgb
from . import metrics
from .judge import ScoreJudge

METRICS: dict[str, str] = {
    "overall": "the vision model's overall mark √(SC · PQ), 0 to 10",
    "sc": "semantic consistency, 0 to 10: the worse of following the instruction and keeping the rest",
    "pq": "perceptual quality, 0 to 10: the worse of looking natural and being free of artefacts",
    "binarised": "√(PQ / 10) where SC is at least 5, else 0",
    "ssim_target": "structural similarity to the target, at most 1",
    "psnr_target": "nearness to the target in decibels",
    "l1_target": "mean difference from the target, 0 to 1; less is better",
    "clip_target": "CLIP-I: cosine to the target in CLIP's space",
    "dino_target": "cosine to the target in DINO's space",
    "clip_text": "CLIP-T: cosine to the caption of the edited picture in CLIP's space",
    "psnr_outside": "nearness to the source outside the mask in decibels",
    "l1_outside": "mean difference from the source outside the mask, 0 to 1; less is better",
    "changed_outside": "share of pixels outside the mask that changed; less is better",
    "changed_inside": "share of pixels inside the mask that changed; 0 means that nothing was done",
    "changed": "share of all pixels that changed; 0 means that nothing was done",
    "ssim_source": "structural similarity to the source, at most 1",
    "psnr_source": "nearness to the source in decibels",
    "l1_source": "mean difference from the source, 0 to 1",
    "clip_source": "CLIP-I: cosine to the source in CLIP's space",
    "dino_source": "cosine to the source in DINO's space",
}
"""What each measure says, the most telling first."""
BEST_DB = 100.0
"""What equality counts as, in decibels."""


class Encoder(Protocol):
    """Pictures and texts as feature vectors, such as `chat.features.FolderFeatures`."""

    @property
    def reads_text(self) -> bool: ...

    def of_pictures(self, pictures: Sequence[Any]) -> Tensor: ...

    def of_texts(self, texts: Sequence[str]) -> Tensor: ...


@dataclass(frozen=True)
class Edit:
    """Pictures [B, H, W, 3 or 4] in 0–1, a mask [B, H, W] or [H, W] with 1 where the edit belongs, and the words.

    `caption` says what the edited picture should show.
    """

    source: Tensor
    edit: Tensor
    instruction: str = ""
    target: Tensor | None = None
    mask: Tensor | None = None
    caption: str = ""

    def fitted(self) -> Edit:
        """All pictures RGB, at the source's size, and as many rows as the largest batch has."""
        size = size_of(self.source)
        mask = None if self.mask is None else resize_mask(self.mask, size)
        given = [part for part in (self.source, self.edit, self.target, mask) if part is not None]
        rows = max(part.shape[0] for part in given)
        source, edit, target = (
            None if part is None else cycle(resize(to_rgb(part), size), rows)
            for part in (self.source, self.edit, self.target)
        )
        assert source is not None and edit is not None
        mask = None if mask is None else cycle(mask, rows)
        return replace(self, source=source, edit=edit, target=target, mask=mask)


Scores = dict[str, Tensor]
"""Measure → one float for each row, [B]."""


def measured(edit: Edit) -> Scores:
    """What needs no model. What an area without a pixel would be measured by is left out, or NaN in rows beside others.

    Raises `X2EditError` for pictures below 11 pixels.
    """
    edit = edit.fitted()
    scores = _nearness(edit.edit, edit.source, "source")
    area = metrics.edited_area(edit.source, edit.edit, edit.mask)
    scores["changed"] = area.changed
    if edit.mask is not None:
        scores["changed_inside"], scores["changed_outside"] = area.inside, area.outside
        scores["l1_outside"], scores["psnr_outside"] = area.l1_outside, area.psnr_outside.clamp(max=BEST_DB)
    if edit.target is not None:
        scores.update(_nearness(edit.edit, edit.target, "target"))
    return {name: values for name, values in scores.items() if not bool(values.isnan().all())}


def encoded(edit: Edit, encoder: Encoder) -> Scores:
    """Cosines in the encoder's space: CLIP's if it reads text, else DINO's."""
    edit = edit.fitted()
    space = "clip" if encoder.reads_text else "dino"
    found = encoder.of_pictures(list(edit.edit))
    scores = {f"{space}_source": metrics.similarity(found, encoder.of_pictures(list(edit.source)))}
    if edit.target is not None:
        scores[f"{space}_target"] = metrics.similarity(found, encoder.of_pictures(list(edit.target)))
    if edit.caption and encoder.reads_text:
        words = encoder.of_texts([edit.caption]).expand_as(found)
        scores["clip_text"] = metrics.similarity(found, words)
    return scores


def judged(edit: Edit, judge: ScoreJudge) -> tuple[Scores, list[str]]:
    """The vision model's marks and its reasons, one for each row; raises `ChatError` when it gives none."""
    edit = edit.fitted()
    marks = [judge.rate(source, made, edit.instruction) for source, made in zip(edit.source, edit.edit, strict=True)]
    columns = {
        "overall": [mark.overall for mark in marks],
        "sc": [mark.sc for mark in marks],
        "pq": [mark.pq for mark in marks],
        "binarised": [mark.binarised() for mark in marks],
    }
    return {name: torch.tensor(values) for name, values in columns.items()}, [mark.reason for mark in marks]


def chosen(scores: Mapping[str, Tensor], metric: str) -> str:
    """`metric`, or with `auto` the most telling one there is; raises `X2EditError` where it cannot be had."""
    if metric == "auto":
        return next(name for name in METRICS if name in scores)
    if metric not in scores:
        raise X2EditError(f"{metric} needs {_needed(metric, scores)}; connected inputs give: {', '.join(scores)}.")
    return metric


def _needed(metric: str, scores: Mapping[str, Tensor]) -> str:
    needs = {
        "overall": "a chat", "sc": "a chat", "pq": "a chat", "binarised": "a chat",
        "clip_text": "a CLIP encoder and a caption",
    }  # fmt: skip
    if metric in needs:
        return needs[metric]
    space, _, other = metric.partition("_")
    parts = [f"a {space.upper()} encoder"] if space in ("clip", "dino") else []
    parts += [f"a {other}"] if other == "target" else _area(other, scores)
    return " and ".join(parts) or f"a name of: {', '.join(METRICS)}"


def _area(name: str, scores: Mapping[str, Tensor]) -> list[str]:
    """What measures of an area need: a mask, or one with that area in it where the other area was measured."""
    if name not in ("inside", "outside"):
        return []
    if "changed_inside" in scores or "changed_outside" in scores:
        return [f"a mask with {'white' if name == 'inside' else 'black'} in it"]
    return ["a mask"]


def _nearness(first: Tensor, second: Tensor, name: str) -> Scores:
    return {
        f"ssim_{name}": metrics.ssim(first, second),
        f"psnr_{name}": metrics.psnr(first, second).clamp(max=BEST_DB),
        f"l1_{name}": metrics.l1(first, second),
    }


@dataclass(frozen=True)
class Report:
    """The value of one measure, averaged over the rows, and all of them in words."""

    value: float
    text: str


MARKS = ("overall", "sc", "pq", "binarised")
"""What the vision model gives."""


def report(edit: Edit, metric: str = "auto", encoder: Encoder | None = None, judge: ScoreJudge | None = None) -> Report:
    """Everything that can be measured, and `metric` in particular; `auto` is the most telling one.

    A vision model that does not answer raises `ChatError` if the metric is its own or `auto`; otherwise that stands first.
    """
    edit = edit.fitted()
    scores = measured(edit) | (encoded(edit, encoder) if encoder else {})
    notes: list[str] = []
    warnings: list[str] = []
    if judge is not None:
        try:
            marks, notes = judged(edit, judge)
            scores |= marks
        except ChatError as error:
            if metric in ("auto", *MARKS):
                raise
            warnings = [f"WARNING: no marks: {error}"]
    name = chosen(scores, metric)
    value = float(scores[name].nanmean())
    return Report(value, "\n".join([*warnings, f"{name} {_number(value)}", *_lines(scores), *filter(None, notes)]))


def _lines(scores: Scores) -> list[str]:
    """One line for each measure: its name, a value for each row, and what it says."""
    return [
        f"{name:15} {'  '.join(map(_number, scores[name].tolist()))}  ({meaning})"
        for name, meaning in METRICS.items()
        if name in scores
    ]


def _number(value: float) -> str:
    return f"{value:.4g}"
