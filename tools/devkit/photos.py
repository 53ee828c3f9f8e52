"""Crops of the photos in scikit-image's wheel, and pairs of them with an exact edit, for teaching; none is committed.

Photos are shared out as wholes: what is learnt from, what rates are chosen on, and what is scored never show one scene.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from x2edit_core.errors import X2EditError
from x2edit_core.miniature.lessons import Lesson

Picture = NDArray[np.uint8]
PARTS: Mapping[str, tuple[str, ...]] = {
    "train": ("astronaut.png", "motorcycle_left.png", "ihc.png", "retina.jpg", "hubble_deep_field.jpg"),
    "validation": ("rocket.jpg",),
    "test": ("chelsea.png", "coffee.png"),
}
LEAST_CONTRAST = 25.0
"""Standard deviation of a crop's values: sky and black borders teach nothing."""
WIDEST = 4
"""A crop's side, before it is scaled down, against the side it is learnt at."""


def photo(name: str) -> Picture:
    """A photo from the wheel, uint8 [H, W, 3]; raises `X2EditError` where scikit-image is not installed."""
    found = find_spec("skimage")
    if found is None or not found.submodule_search_locations:
        raise X2EditError(
            "The photos lie in the package scikit-image, which is not installed here: pip install scikit-image."
        )
    with Image.open(Path(found.submodule_search_locations[0]) / "data" / name) as file:
        return np.asarray(file.convert("RGB"))


def crops(part: str, count: int, side: int) -> Iterator[Picture]:
    """`count` squares of `side` pixels cut from the photos of a part in turn, at random places, scales and flips.

    Those to learn from also swap their channels at random, as five photos show few colours. Equal arguments give equal crops.
    """
    draw = np.random.default_rng([*part.encode(), side])
    photos = [photo(name) for name in PARTS[part]]
    for number in range(count):
        while True:
            crop = _crop(photos[number % len(photos)], side, draw)
            if crop.std() >= LEAST_CONTRAST:
                break
        yield crop[..., draw.permutation(3)] if part == "train" else crop


def _crop(whole: Picture, side: int, draw: np.random.Generator) -> Picture:
    least = min(whole.shape[:2])
    size = int(draw.integers(min(side, least), min(WIDEST * side, least) + 1))
    top, left = (int(draw.integers(0, extent - size + 1)) for extent in whole.shape[:2])
    square = Image.fromarray(whole[top : top + size, left : left + size]).resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(square)[:, :: int(draw.choice((1, -1)))]


def write_pairs(folder: Path, part: str, lessons: Sequence[Lesson], count: int, side: int, words: str = "") -> Path:
    """Pairs for training, `count` of each lesson from crops of their own: a .jsonl beside its pictures.

    `words` is said of all of them, in place of each lesson's own instruction.
    """
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / f"{part}.jsonl"
    lines = []
    for number, crop in enumerate(crops(part, count * len(lessons), side)):
        lesson = lessons[number // len(PARTS[part]) % len(lessons)]
        names = {which: f"{part}-{number:04d}-{which}.png" for which in ("source", "target")}
        for which, picture in (("source", crop), ("target", lesson.apply(crop))):
            Image.fromarray(np.ascontiguousarray(picture)).save(folder / names[which])
        lines.append({**names, "instruction": words or lesson.instruction, "task": lesson.task.english})
    index.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    return index
