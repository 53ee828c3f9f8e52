"""What is measured of an edit: pixels always; encoders, OCR, a judge and a scene's exact answer where they are asked for."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..chat import ChatError
from ..chat.features import FolderFeatures
from ..choosing.scoring import Edit, Encoder, encoded, measured
from ..errors import X2EditError
from ..pixels import from_bytes
from ..scenes import EditCase, Picture, scenebench
from ..scenes.scenebench import RoundTrip
from ..tasks import Task
from . import judges, ocr
from .config import ScoresConfig
from .endpoints import Asked
from .faults import RefusedError
from .instructions import Words
from .journal import Made, Memory, key_of

VERSION = 1
LEAST_SIDE = 11
"""Pixels that the structural measures need."""


@dataclass(frozen=True)
class Before:
    """What an edit is measured against. Digests name the contents; `scene` holds the exact answer."""

    source: Image.Image
    digest: str
    mask: Image.Image | None = None
    mask_digest: str = ""
    scene: EditCase | None = None


def _as_it_is(picture: Picture) -> Picture:
    return picture


@dataclass
class Scorers:
    """Every measure that the configuration asks for; `round_trip` is for scenes, of the autoencoder that the editor uses."""

    config: ScoresConfig
    encoders: Sequence[Encoder] = ()
    judge: judges.VieJudge | judges.ImgEditJudge | None = None
    read: Callable[[Image.Image], str] | None = None
    round_trip: RoundTrip = _as_it_is

    def scores(self, memory: Memory, before: Before, edit: Image.Image, digest: str, words: Words) -> dict[str, Any]:
        """`scores`, and the judge's `reason` and `by`. Raises `RefusedError` where it cannot be measured."""
        pictures = [before.digest, digest, before.mask_digest]
        named = [self.config.clip, self.config.dino, self.config.ocr, self.config.judge == "scenes", words.said]
        key = key_of("measure", VERSION, pictures, named)
        found = memory.remember("measure", key, lambda: Made(self._measured(before, edit, words)))
        if "refused" in found:
            raise RefusedError("scores", found["refused"])
        if self.judge is None:
            return {"scores": found["scores"], "reason": "", "by": ""}
        key = key_of("judge", judges.VERSION, pictures[:2], words.said, self.judge.identity)
        told = memory.remember("judge", key, lambda: self._judged(before.source, edit, words))
        if "refused" in told:
            raise RefusedError("scores", told["refused"])
        return {"scores": found["scores"] | told["marks"], "reason": told["reason"], "by": self.judge.chat.name}

    def features(self, memory: Memory, picture: Image.Image, digest: str) -> str:
        """The picture's vector in the last encoder's space (DINO's where there is one), of length 1, as float16 in base 64;
        empty without an encoder."""
        if not self.encoders:
            return ""
        encoder = self.encoders[-1]

        def made() -> Made:
            vector = encoder.of_pictures([_tensor(picture)[0]])[0].double()
            whole = (vector / vector.norm()).to(torch.float16).numpy().astype("<f2")
            return Made(base64.b64encode(whole.tobytes()).decode("ascii"))

        return memory.remember(
            "features", key_of("features", VERSION, digest, self.config.clip, self.config.dino), made
        )

    def _measured(self, before: Before, edit: Image.Image, words: Words) -> dict[str, Any]:
        if min(edit.size) < LEAST_SIDE:
            return {"refused": f"its sides are below {LEAST_SIDE} pixels"}
        mask = None if before.mask is None else torch.from_numpy(np.asarray(before.mask, np.float32) / 255)[None]
        pair = Edit(_tensor(before.source), _tensor(edit), words.said, mask=mask)
        found = dict(measured(pair))
        for encoder in self.encoders:
            found.update(encoded(pair, encoder))
        scores = {name: round(float(values[0]), 5) for name, values in found.items() if bool(torch.isfinite(values[0]))}
        if self.config.judge == "scenes" and before.scene is not None:
            scores |= self._exact(before.scene, edit)
        if self.read is not None and words.task is Task.TEXT:
            scores |= ocr.ocr_scores(self.read(edit), words.said)
        return {"scores": scores}

    def _exact(self, scene: EditCase, edit: Image.Image) -> dict[str, float]:
        found = scenebench.score(scene, np.asarray(edit.convert("RGB")), self.round_trip)
        kept = {} if found.preservation_db is None else {"preservation_db": round(found.preservation_db, 3)}
        return {"success": float(found.success), "psnr_db": round(found.psnr_db, 3), **kept}

    def _judged(self, source: Image.Image, edit: Image.Image, words: Words) -> Made:
        assert self.judge is not None
        try:
            marks, reason = self.judge.marks(source, edit, words.said)
            value: dict[str, Any] = {"marks": {name: round(mark, 3) for name, mark in marks.items()}, "reason": reason}
        except RefusedError as error:
            value = {"refused": error.reason}
        except ChatError as error:
            value = {"refused": str(error)}
        cost, tokens = self.judge.chat.meter.read()
        return Made(value, self.judge.chat.name, cost, tokens)


def scorers(config: ScoresConfig, judge: Asked | None, round_trip: RoundTrip) -> Scorers:
    """Raises `X2EditError`, by name, for a measure whose weights or package are not there."""
    encoders = [FolderFeatures(Path(folder), config.device) for folder in (config.clip, config.dino) if folder]
    read = ocr.reader() if config.ocr else None
    kinds = {"viescore": judges.VieJudge, "imgedit": judges.ImgEditJudge}
    asked = None
    if config.judge in kinds:
        if judge is None:
            raise X2EditError(f"scores.judge = {config.judge!r} needs [endpoints.judge].")
        asked = kinds[config.judge](judge, config.criteria)
    return Scorers(config, encoders, asked, read, round_trip)


def _tensor(picture: Image.Image) -> torch.Tensor:
    return from_bytes(np.asarray(picture.convert("RGB")))
