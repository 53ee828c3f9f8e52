"""Pictures from disk as a pool: fitted into aspect buckets, encoded once, their latents kept in files.

A latent file is named by what went into it: the sample's content, its bucket, the form and the autoencoder. So nothing
stale is ever read, and a run that changes only its training goes on with what is there.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from ..errors import X2EditError
from ..formats.files import save_atomically
from ..geometry import BUCKETS_512, BUCKETS_1024, Size, nearest_bucket, snap
from .batches import SampleError
from .config import DataConfig
from .forms import Form, example_of, pictures_of, said
from .samples import Example, Mode, Picture, PictureEncoder
from .sources import Entry, entries

logger = logging.getLogger(__name__)
SKIPPED_FILE = "skipped.txt"


@dataclass(frozen=True)
class Stored:
    """One encoded sample: where it comes from, its latents' file, its bucket, what it is told."""

    name: str
    file: Path
    bucket: int
    instruction: str
    task: int


class DiskPool:
    """Encoded samples, read when asked for; `sizes` are those of their buckets."""

    def __init__(self, stored: Sequence[Stored], form: Form, mode: Mode, sizes: Sequence[Size]) -> None:
        self._stored, self._sizes = stored, sizes
        self._form: Form = form
        self._mode: Mode = mode
        self.tasks = [item.task for item in stored]
        self.buckets = [item.bucket for item in stored]

    @property
    def words(self) -> list[str]:
        """Everything that is said, for encoding ahead."""
        return [said(self._form, self._mode, item.instruction, self._sizes[item.bucket]) for item in self._stored]

    def example(self, index: int) -> Example:
        item = self._stored[index]
        try:
            latents = load_file(item.file)
        except (OSError, SafetensorError) as error:
            raise SampleError(f"{item.name}: its latents {item.file} cannot be read ({error})") from error
        return example_of(self._form, self._mode, latents, item.instruction, item.task)


def disk_pools(
    config: DataConfig,
    form: Form,
    cache: Path,
    encoder: PictureEncoder,
    poll: Callable[[int, int], None],
) -> dict[Mode, DiskPool]:
    """The pools of `config`'s data, encoding what `cache` lacks or holds damaged.

    Broken samples are listed in its `skipped.txt`, which is there only if there are some.
    """
    assert config.kind != "scenes", "scenes have a pool of their own"
    skipped: list[str] = []
    sizes = bucket_sizes(config.size)
    listed = list(entries(config.kind, Path(config.path), lambda error: skipped.append(str(error))))
    stored = []
    for number, entry in enumerate(listed):
        poll(number, len(listed))
        try:
            stored.append(_stored(entry, form, cache / "latents", encoder, sizes))
        except SampleError as error:
            skipped.append(str(error))
    (cache / SKIPPED_FILE).unlink(missing_ok=True)
    if skipped:
        cache.mkdir(parents=True, exist_ok=True)
        (cache / SKIPPED_FILE).write_text("\n".join(skipped) + "\n", encoding="utf-8")
        logger.warning("%d of %d samples are skipped; %s lists them", len(skipped), len(skipped) + len(stored),
                       cache / SKIPPED_FILE)  # fmt: skip
    if not stored:
        raise X2EditError(f"No usable sample was found at {config.path}; {len(skipped)} were broken.")
    return {"edit": DiskPool(stored, form, "edit", sizes), "copy": DiskPool(stored, form, "copy", sizes)}


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


def _stored(entry: Entry, form: Form, folder: Path, encoder: PictureEncoder, sizes: tuple[Size, ...]) -> Stored:
    index = folder / f"{_hash(entry.key, encoder.fingerprint, form, str(sizes))}"
    places = [(bucket, index.with_suffix(f".{bucket}.safetensors")) for bucket in range(len(sizes))]
    found = [(bucket, path) for bucket, path in places if path.exists() and _whole(path)]
    if not found:
        source, target = entry.pictures()
        size = nearest_bucket(Size(*source.shape[:2]), sizes)
        bucket = sizes.index(size)
        pictures = pictures_of(form, fitted(source, size)[None], fitted(target, size)[None])
        latents = {name: encoder.encode(torch.from_numpy(np.array(part)))[0] for name, part in pictures.items()}
        path = index.with_suffix(f".{bucket}.safetensors")
        save_atomically({name: part.to(torch.bfloat16) for name, part in latents.items()}, path, {"name": entry.name})
        found = [(bucket, path)]
    bucket, path = found[0]
    return Stored(entry.name, path, bucket, entry.instruction, entry.task.id)


def _whole(path: Path) -> bool:
    """Whether a latent file is as long as its header says; nothing else of it is read."""
    try:
        with safe_open(path, framework="pt"):
            return True
    except (OSError, SafetensorError):
        logger.warning("%s is damaged; its sample is encoded anew", path)
        return False


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
