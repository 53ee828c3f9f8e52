"""One edited picture → its row of scores, by everything that the configuration offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..chat import Chat, ChatError
from ..chat.endpoint import EndpointChat
from ..chat.features import FolderFeatures
from ..chat.folder import FolderChat
from ..chat.keys import written_by_hand
from ..chat.transport import Limits
from ..choosing.judge import ScoreJudge
from ..choosing.scoring import Edit, Encoder, encoded, judged, measured
from ..data.pictures import MOST_STRETCH, check_aspects, check_together, stretch
from ..pixels import size_of
from ..scenes.scenebench import RoundTrip
from .cases import Case, decoded, decoded_mask
from .config import EncodersConfig, EvaluateConfig, JudgeConfig
from .scenes import score_scene

SCENE_SCORES = ("success", "preservation_db", "psnr_db")
"""SceneBench's own columns; `success` is 1 or 0."""


@dataclass(frozen=True)
class Row:
    """Scores by name, the judge's words, what it could not be asked, what is odd; empty cells are left out."""

    scores: dict[str, float]
    reason: str = ""
    fault: str = ""
    note: str = ""


@dataclass(frozen=True)
class Scorer:
    """`round_trip` is for SceneBench."""

    round_trip: RoundTrip
    encoders: Sequence[Encoder] = ()
    judge: ScoreJudge | None = None

    def score(self, case: Case, picture: bytes) -> Row:
        """Raises `X2EditError` where pictures cannot be read or compared; a judge that fails costs only its marks."""
        edit = Edit(
            decoded(case.source(), case.where("source")),
            decoded(picture, f"the edit of {case.name}"),
            case.instruction,
            case.target and decoded(case.target(), case.where("target")),
            case.mask and decoded_mask(case.mask(), case.where("mask")),
            case.caption,
        )
        _check_shapes(case, edit)
        note = _note(edit)
        scores = dict(measured(edit))
        for encoder in self.encoders:
            scores.update(encoded(edit, encoder))
        plain = _plain(scores) | (self._scene(case, picture) if case.scene else {})
        if self.judge is None:
            return Row(plain, note=note)
        try:
            marks, reasons = judged(edit, self.judge)
        except ChatError as error:
            return Row(plain, fault=str(error), note=note)
        return Row(_plain(marks) | plain, reasons[0], note=note)

    def _scene(self, case: Case, picture: bytes) -> dict[str, float]:
        found = score_scene(case, picture, self.round_trip)
        cells = {name: getattr(found, name) for name in SCENE_SCORES}
        return {name: float(value) for name, value in cells.items() if value is not None}


def _check_shapes(case: Case, edit: Edit) -> None:
    """Raises `CaseError` where what is known about the answer would have to be squashed to fit the source."""
    if case.target and case.scene is None:
        check_together((case.source, case.target), (case.where("source"), case.where("target")))
    if edit.mask is not None:
        check_aspects(size_of(edit.source), size_of(edit.mask), case.where("source"), case.where("mask"))


def _note(edit: Edit) -> str:
    """What to know about an edit of another shape than its source, to which measures bring it."""
    source, made = size_of(edit.source), size_of(edit.edit)
    if stretch(source, made) <= MOST_STRETCH:
        return ""
    return f"the edit is {made}, of another shape than its source of {source}: it was squashed to be measured"


def scorer(config: EvaluateConfig, round_trip: RoundTrip) -> Scorer:
    """The scorer that a configuration asks for; raises `X2EditError` for a model that cannot be used."""
    judge = ScoreJudge(_chat(config.judge), config.judge.criteria) if config.judge.wanted else None
    return Scorer(round_trip, _encoders(config.encoders), judge)


def _encoders(config: EncodersConfig) -> list[Encoder]:
    return [FolderFeatures(Path(folder), config.device) for folder in (config.clip, config.dino) if folder]


def _chat(config: JudgeConfig) -> Chat:
    if config.folder:
        return FolderChat(config.folder)
    pair = written_by_hand(config.base_url, config.key_variable)
    return EndpointChat(config.base_url, config.model, vision=True, limits=Limits(config.timeout), pair=pair)


def _plain(scores: dict[str, Tensor]) -> dict[str, float]:
    """The one row's numbers; what is not defined for it (a share of an empty area) is left out."""
    return {name: float(values[0]) for name, values in scores.items() if bool(torch.isfinite(values[0]))}
