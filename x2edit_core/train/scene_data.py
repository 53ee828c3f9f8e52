"""Procedural scenes as a pool: drawn once, encoded once, held in memory."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from ..data.summary import DataSummary
from ..files import save_atomically
from ..geometry import Size
from ..miniature.lessons import Lesson, fingerprint, lesson_named
from ..tasks import Task
from .config import DataConfig
from .draw import SceneSet, drawn_shards
from .forms import DIPTYCHS, Form, example_of, pictures_of, pixels_of, said
from .samples import Example, Mode, PictureEncoder

logger = logging.getLogger(__name__)
_AT_ONCE = 50


class ScenePool:
    """Latents bfloat16 [N, 16, h, w] by name, instructions and tasks; one bucket, scenes of `size` pixels."""

    def __init__(
        self,
        form: Form,
        mode: Mode,
        latents: Mapping[str, Tensor],
        words: Sequence[str],
        tasks: Sequence[int],
        size: int = 0,
    ) -> None:
        self._form: Form = form
        self._mode: Mode = mode
        self._latents, self._words = latents, words
        self.tasks = list(tasks)
        self.buckets = [0] * len(self.tasks)
        self._size = size

    @property
    def summary(self) -> DataSummary:
        """What was drawn."""
        known = [Task.from_id(task) for task in self.tasks]
        sides = {Size(self._size, self._size): len(known)} if self._size else {}
        digest = hashlib.sha256("\0".join((*self._words, *map(str, self.tasks))).encode()).hexdigest()[:16]
        found = {"named": len(known)}
        return DataSummary("scenes", "", len(known), sides, sides, Counter(known), found, fingerprint=digest)

    @property
    def words(self) -> list[str]:
        """Everything that is said, for encoding ahead."""
        size = pixels_of(next(iter(self._latents.values())))
        return [said(self._form, self._mode, words, size) for words in self._words]

    def with_mode(self, mode: Mode) -> ScenePool:
        """The same scenes, learnt in another way."""
        return ScenePool(self._form, mode, self._latents, self._words, self.tasks, self._size)

    def example(self, index: int) -> Example:
        latents = {name: tensor[index] for name, tensor in self._latents.items()}
        return example_of(self._form, self._mode, latents, self._words[index], self.tasks[index])


def scene_pools(
    config: DataConfig,
    form: Form,
    cache: Path,
    encoder: PictureEncoder,
    poll: Callable[[int, int], None] = lambda done, total: None,
) -> dict[Mode, ScenePool]:
    """The pools that `config.mix` asks for, drawing and encoding what `cache` lacks."""
    pools: dict[Mode, ScenePool] = {}
    if config.mix.get("edit") or config.mix.get("copy"):
        edits = _pool(_set(config, "edit"), config, form, "edit", cache, encoder, poll)
        pools |= {"edit": edits, "copy": edits.with_mode("copy")}
    both: list[Mode] = [mode for mode in DIPTYCHS if config.mix.get(mode)]
    if both:
        diptychs = _pool(_set(config, "edit"), config, "diptych", "edit", cache, encoder, poll)
        for mode in both:
            pools[mode] = diptychs.with_mode(DIPTYCHS[mode])
    if config.mix.get("picture"):
        pools["picture"] = _pool(_set(config, "picture"), config, form, "picture", cache, encoder, poll)
    return pools


def _set(config: DataConfig, what: str) -> SceneSet:
    count = config.cases if what == "edit" else config.pictures
    return SceneSet(what, config.first_seed, count, config.size, language=config.language)


def _pool(
    wanted: SceneSet,
    config: DataConfig,
    form: Form,
    mode: Mode,
    cache: Path,
    encoder: PictureEncoder,
    poll: Callable[[int, int], None],
) -> ScenePool:
    parts: dict[str, list[Tensor]] = {}
    words: list[str] = []
    tasks: list[int] = []
    folder = cache / "pictures"
    shards = wanted.shards()
    lesson = lesson_named(config.lesson) if config.lesson and wanted.what == "edit" else None
    files = [_latent_file(cache, wanted, shard, form, encoder, lesson) for shard in shards]
    lazy = drawn_shards(wanted, folder, config.workers, poll) if not all(file.exists() for file in files) else None
    for number, file in enumerate(files):
        shard = next(lazy) if lazy else None
        if not file.exists():
            assert shard is not None
            _encode(shard if lesson is None else _taught(shard, lesson), form, encoder, file)
        with safe_open(file, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118
                parts.setdefault(name, []).append(stored.get_tensor(name))
            said = json.loads(stored.metadata()["samples"])
        words += said["words"]
        tasks += said["tasks"]
        poll(number + 1, len(files))
    logger.info("%d scenes of the kind %s are ready", len(words), wanted.what)
    return ScenePool(form, mode, {name: torch.cat(found) for name, found in parts.items()}, words, tasks, wanted.size)


def _latent_file(
    cache: Path, wanted: SceneSet, shard: tuple[int, int], form: Form, encoder: PictureEncoder, lesson: Lesson | None
) -> Path:
    pictures = wanted.file(Path(), *shard)
    taught = f"/{lesson.name}/{fingerprint()}" if lesson else ""
    key = hashlib.sha256(f"{pictures.parent.name}/{encoder.fingerprint}/{form}{taught}".encode()).hexdigest()[:16]
    return cache / "latents" / key / pictures.with_suffix(".safetensors").name


def _taught(shard: Mapping[str, object], lesson: Lesson) -> dict[str, object]:
    """A shard's pictures with the lesson's edit in place of their own."""
    sources = np.asarray(shard["source"])
    told = {"words": [lesson.instruction] * len(sources), "tasks": [lesson.task.id] * len(sources)}
    return {**shard, "target": np.stack([lesson.apply(source) for source in sources]), **told}


def _encode(shard: Mapping[str, object], form: Form, encoder: PictureEncoder, file: Path) -> None:
    source, target = shard.get("source"), shard["target"]
    latents = {}
    for name, pictures in pictures_of(form, source, target).items():  # pyright: ignore[reportArgumentType]
        pieces = [encoder.encode(piece) for piece in torch.from_numpy(pictures).split(_AT_ONCE)]
        latents[name] = torch.cat(pieces).to(torch.bfloat16)
    tasks = [int(task) for task in shard["tasks"]]  # pyright: ignore[reportGeneralTypeIssues]
    samples = {"words": shard["words"], "tasks": tasks}
    save_atomically(latents, file, {"samples": json.dumps(samples, ensure_ascii=False)})
