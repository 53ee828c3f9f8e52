"""What a model in training makes of pictures that it never saw, edit by edit, against the exact targets."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from x2edit_core import flow
from x2edit_core.geometry import Size
from x2edit_core.miniature.lessons import Lesson
from x2edit_core.shift import FLUX_SCHEDULE
from x2edit_core.train.forms import Form, example_of, form_of, pictures_of, said
from x2edit_core.train.losses import expert_usage
from x2edit_core.train.model import Inputs, Watch
from x2edit_core.train.preview import sampled
from x2edit_core.train.samples import Batch

from .photos import Picture

STEPS = 8
USAGE_SIGMA = 0.7


class Scorer:
    """Edits `lessons` in pictures of `side` pixels by the model of a run, as it stands, with the same noise every time.

    `words` is said of all of them, in place of each lesson's own instruction.
    """

    def __init__(
        self, parts: Any, kind: str, pictures: Any, lessons: Sequence[Lesson], side: int, words: str = ""
    ) -> None:
        self._parts, self._pictures, self._lessons = parts, pictures, lessons
        self._side, self._words = side, words
        self._form: Form = form_of(kind)
        if hasattr(parts.text, "prepare"):
            asked = {said(self._form, "edit", self._asked(lesson), Size(side, side)) for lesson in lessons}
            parts.text.prepare(asked, lambda done, total: None)

    def edits(self, sources: Sequence[Picture], wrong_task: bool = False) -> dict[str, float]:
        """Mean PSNR in dB to the exact target, by edit; `wrong_task` tells the next lesson's task instead."""
        return {
            lesson.name: statistics.mean(
                map(psnr, self.edited(lesson, sources, wrong_task), map(lesson.apply, sources))
            )
            for lesson in self._lessons
        }

    @torch.no_grad()
    def edited(self, lesson: Lesson, sources: Sequence[Picture], wrong_task: bool = False) -> Tensor:
        """The edited pictures, float [B, H, W, 3] in 0…1."""
        batch = self._batch(lesson, sources, wrong_task)
        with self._parts.model.session():
            latents = sampled(self._parts.model, self._parts.text, batch, STEPS, FLUX_SCHEDULE)
        edited = latents[..., -self._side // 8 :] if self._form == "diptych" else latents
        return self._parts.decode(edited.float().cpu())

    @torch.no_grad()
    def usage(self, sources: Sequence[Picture]) -> dict[str, list[float]]:
        """The share of selections that each expert gets within one pass, by edit."""
        found: dict[str, list[float]] = {}
        with self._parts.model.session():
            for lesson in self._lessons:
                batch = self._batch(lesson, sources)
                noisy = flow.noised(batch.target, batch.noise, batch.sigma)
                shown = () if batch.reference is None else (batch.reference,)
                context, pooled = self._parts.text(batch.instructions)
                inputs = Inputs(noisy, batch.sigma, context, pooled, batch.tasks, shown, batch.concat)
                with self._parts.model.predicting(inputs, Watch(gates=True)) as prediction:
                    found[lesson.name] = expert_usage(prediction.gates).tolist()
        return found

    def _asked(self, lesson: Lesson) -> str:
        return self._words or lesson.instruction

    def _batch(self, lesson: Lesson, sources: Sequence[Picture], wrong_task: bool = False) -> Batch:
        following = self._lessons[(self._lessons.index(lesson) + 1) % len(self._lessons)]
        task = (following if wrong_task else lesson).task
        shown = pictures_of(self._form, np.stack(sources), np.stack([lesson.apply(source) for source in sources]))
        latents = {name: self._pictures.encode(torch.from_numpy(np.array(part))) for name, part in shown.items()}
        examples = [
            example_of(self._form, "edit", _row(latents, row), self._asked(lesson), task.id)
            for row in range(len(sources))
        ]
        source = torch.Generator().manual_seed(lesson.task.id)
        noise = torch.randn(len(sources), *examples[0].target.shape, generator=source)
        return Batch.of("edit", examples, noise, torch.full((len(sources),), USAGE_SIGMA))


def _row(latents: Mapping[str, Tensor], row: int) -> dict[str, Tensor]:
    return {name: part[row] for name, part in latents.items()}


def psnr(output: Tensor, target: Picture) -> float:
    """dB between an output [H, W, 3] in 0…1, as it would be saved, and a target."""
    saved = (output.clamp(0, 1) * 255).round().numpy()
    return float(10 * np.log10(255**2 / max(1e-9, np.square(saved - target.astype(np.float64)).mean())))
