"""Pictures from disk as a pool: fitted into aspect buckets, encoded once, their latents kept in files.

A latent file is named by what went into it: the sample's content, its bucket, the form and the autoencoder. So nothing
stale is ever read, and a run that changes only its training goes on with what is there.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from ..data.pairs import Pair, SampleError
from ..data.picture_files import READING
from ..data.readers import existing, nothing_usable
from ..data.summary import DataSummary, summary_of
from ..files import save_atomically
from ..geometry import BUCKETS_512, BUCKETS_1024, Size, nearest_bucket, snap
from .batches import NOT_FINITE
from .config import DataConfig
from .forms import Form, example_of, pictures_of, said
from .samples import Example, Mode, Picture, PictureEncoder
from .sources import entries

logger = logging.getLogger(__name__)
SKIPPED_FILE = "skipped.txt"


@dataclass(frozen=True)
class Stored:
    """One encoded sample: the pair, its latents' file, its bucket, the source's size if that was kept, and what is odd."""

    pair: Pair
    file: Path
    bucket: int
    size: Size | None = None
    notes: tuple[str, ...] = ()


class DiskPool:
    """Encoded samples, read when asked for; `sizes` are those of their buckets, `summary` what the data turned out to be."""

    def __init__(
        self, stored: Sequence[Stored], form: Form, mode: Mode, sizes: Sequence[Size], summary: DataSummary
    ) -> None:
        self._stored, self._sizes, self.summary = stored, sizes, summary
        self._form: Form = form
        self._mode: Mode = mode
        self.tasks = [item.pair.task.id for item in stored]
        self.buckets = [item.bucket for item in stored]

    @property
    def words(self) -> list[str]:
        """Everything that is said, for encoding ahead."""
        return [said(self._form, self._mode, item.pair.instruction, self._sizes[item.bucket]) for item in self._stored]

    def name_of(self, index: int) -> str:
        """Where a sample comes from, for people."""
        return self._stored[index].pair.where("source")

    def example(self, index: int) -> Example:
        item = self._stored[index]
        pair = item.pair
        try:
            latents = load_file(item.file)
        except (OSError, SafetensorError) as error:
            raise SampleError(f"{pair.where('source')}: its latents {item.file} cannot be read ({error})") from error
        return example_of(self._form, self._mode, latents, pair.instruction, pair.task.id)


def disk_pools(
    config: DataConfig,
    form: Form,
    cache: Path,
    encoder: PictureEncoder,
    poll: Callable[[int, int], None],
) -> dict[Mode, DiskPool]:
    """The pools of `config`'s data, encoding what `cache` lacks or holds damaged.

    What is left out is listed in its `skipped.txt`, which is there only if there is something. Raises `X2EditError` where
    nothing can be used.
    """
    assert config.kind != "scenes", "scenes have a pool of their own"
    skipped: list[SampleError] = []
    sizes = bucket_sizes(config.size)
    listed = list(entries(config.kind, config.path, skipped.append))
    stored = []
    for number, pair in enumerate(listed):
        poll(number, len(listed))
        try:
            stored.append(_stored(pair, form, cache / "latents", encoder, sizes))
        except SampleError as error:
            skipped.append(error)
    _list_skipped(skipped, len(stored), cache / SKIPPED_FILE)
    if not stored:
        raise nothing_usable(config.kind, config.path, skipped)
    summary = summary_of(
        config.kind,
        str(existing(config.path)),
        [item.pair.like(notes=(*item.pair.notes, *item.notes)) for item in stored],
        [item.size for item in stored if item.size],
        [sizes[item.bucket] for item in stored],
        skipped,
    )
    return {
        "edit": DiskPool(stored, form, "edit", sizes, summary),
        "copy": DiskPool(stored, form, "copy", sizes, summary),
    }


def _list_skipped(skipped: Sequence[SampleError], usable: int, file: Path) -> None:
    file.unlink(missing_ok=True)
    if skipped:
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = (str(error).replace("\n", " ") for error in skipped)
        file.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="backslashreplace")
        logger.warning("%d samples are used, %d files or samples are not; %s lists each", usable, len(skipped), file)


class SkippedList:
    """What breaks while a run is going on: each sample is counted, logged and added to `skipped.txt` once."""

    def __init__(self, cache: Path) -> None:
        self._file = cache / SKIPPED_FILE
        self._told: set[str] = set()

    @property
    def count(self) -> int:
        return len(self._told)

    def __call__(self, error: SampleError) -> None:
        if (text := str(error)) in self._told:
            return
        self._told.add(text)
        logger.warning("a sample is left out, the %d. of this run; %s lists it: %s", self.count, self._file, text)
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(text.replace("\n", " ") + "\n")
        except OSError as fault:
            logger.warning("%s could not be written: %s", self._file, fault)


def bucket_sizes(size: int) -> tuple[Size, ...]:
    """The aspect buckets of 512 and 1024; for another size its square alone."""
    known = {512: BUCKETS_512, 1024: BUCKETS_1024}
    return known.get(size, (Size(snap(size), snap(size)),))


def fitted(picture: Picture, size: Size) -> Picture:
    """Resized to cover `size` and cut to it from the middle, as upstream trains."""
    height, width = picture.shape[:2]
    scale = max(size.height / height, size.width / width)
    covering = (max(size.width, round(width * scale)), max(size.height, round(height * scale)))
    resized = Image.fromarray(picture).resize(covering, Image.Resampling.BICUBIC)
    left, top = (resized.width - size.width) // 2, (resized.height - size.height) // 2
    return np.asarray(resized.crop((left, top, left + size.width, top + size.height)))


def _stored(pair: Pair, form: Form, folder: Path, encoder: PictureEncoder, sizes: tuple[Size, ...]) -> Stored:
    index = folder / f"{_hash(pair.key, READING, encoder.fingerprint, form, str(sizes))}"
    places = [(bucket, index.with_suffix(f".{bucket}.safetensors")) for bucket in range(len(sizes))]
    for bucket, path in places:
        if path.exists() and (told := _told(path)) is not None:
            return Stored(pair, path, bucket, _size(told), tuple(filter(None, told.get(_NOTES, "").split("\n"))))
    shown = pair.examined()
    source, target = shown.source, shown.target
    found = Size(*source.shape[:2])
    size = nearest_bucket(found, sizes)
    bucket = sizes.index(size)
    pictures = pictures_of(form, fitted(source, size)[None], fitted(target, size)[None])
    latents = {name: encoder.encode(torch.from_numpy(np.array(part)))[0] for name, part in pictures.items()}
    if not all(bool(torch.isfinite(part).all()) for part in latents.values()):
        raise SampleError(
            f"{pair.where('source')}: the autoencoder gives values that are no numbers for it. {NOT_FINITE}"
        )
    path = places[bucket][1]
    name = pair.name.encode("utf-8", "backslashreplace").decode()  # names of files may hold what is no character
    told = {"name": name, _SIZE: f"{found.height} {found.width}", _NOTES: "\n".join(shown.notes)}
    save_atomically({name: part.to(torch.bfloat16) for name, part in latents.items()}, path, told)
    return Stored(pair, path, bucket, found, shown.notes)


_SIZE, _NOTES = "size", "notes"


def _size(told: Mapping[str, str]) -> Size | None:
    """The source's size, which latents encoded by older versions do not say."""
    height, _, width = told.get(_SIZE, "").partition(" ")
    return Size(int(height), int(width)) if height.isdecimal() and width.isdecimal() else None


def _told(path: Path) -> dict[str, str] | None:
    """What a latent file says of itself, if it is as long as its header says; nothing else of it is read."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError):
        logger.warning("%s is damaged; its sample is encoded anew", path)
        return None


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]
