"""Edits as editors give them back: an exact edit, moved, zoomed, warped, toned, blurred and compressed by known amounts."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from x2edit_core.geometry import Size
from x2edit_core.pixels import from_bytes
from x2edit_core.restore.registration import basis, grid
from x2edit_core.restore.smooth import smooth
from x2edit_core.scenes import make_case
from x2edit_core.tasks import Task


@dataclass(frozen=True)
class Drift:
    """What an editor does to a picture besides the edit; `shift` (right, down) and `warp` in the edit's pixels."""

    shift: tuple[float, float] = (0.0, 0.0)
    zoom: float = 1.0
    degrees: float = 0.0
    warp: float = 0.0
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    jpeg: int = 0

    def back(self, size: Size) -> Tensor:
        """Terms [2, 6] of the place of the true picture that a place of the edit shows."""
        width, height = size.width, size.height
        angle = torch.tensor(-self.degrees * torch.pi / 180)
        c, s = float(angle.cos()) / self.zoom, float(angle.sin()) / self.zoom
        terms = torch.tensor(
            [[0, c, -s * height / width, 0, 0, 0], [0, s * width / height, c, 0, 0, 0]], dtype=torch.float64
        )
        bend = torch.tensor([[0, 0, 0, 0.5, 0.3, -0.2], [0, 0, 0, -0.3, 0.4, 0.3]], dtype=torch.float64)
        pixel = torch.tensor([[2 / width], [2 / height]], dtype=torch.float64)
        terms[:, :1] -= terms[:, 1:3] @ (torch.tensor(self.shift, dtype=torch.float64)[:, None] * pixel)
        return terms + self.warp * bend * pixel


def drawn(generator: np.random.Generator, scale: float = 1.0) -> Drift:
    """A drift within 12 px, 4 % of zoom, half a degree, 1.5 px of warp and 4 % of gain, times `scale`."""
    angle, far = generator.uniform(0, 2 * np.pi), 12 * scale * generator.uniform(0.2, 1)
    return Drift(
        shift=(float(far * np.cos(angle)), float(far * np.sin(angle))),
        zoom=1 + 0.04 * scale * float(generator.uniform(-1, 1)),
        degrees=0.5 * scale * float(generator.uniform(-1, 1)),
        warp=1.5 * scale * float(generator.uniform(-1, 1)),
        gain=tuple(float(v) for v in generator.uniform(0.96, 1.04, 3)),  # pyright: ignore[reportArgumentType]
        offset=float(generator.uniform(-0.015, 0.015)),
        blur=float(generator.uniform(0.4, 0.9)),
        noise=0.006,
        jpeg=int(generator.integers(85, 96)),
    )


def drifted(target: Tensor, drift: Drift, seed: int = 0, size: Size | None = None) -> Tensor:
    """The picture [1, H, W, 3] that an editor with this drift gives for the exact `target`."""
    size = size or Size(*target.shape[1:3])
    places = basis(*grid(size, target.double())) @ drift.back(size).T
    channels = target.double().movedim(-1, 1)
    moved = functional.grid_sample(channels, places[None], "bicubic", "reflection", False)
    moved = smooth(moved, drift.blur).movedim(1, -1).float()
    moved = moved * torch.tensor(drift.gain) + drift.offset
    generator = torch.Generator().manual_seed(seed)
    moved = (moved + drift.noise * torch.randn(moved.shape, generator=generator)).clamp(0, 1)
    return compressed(moved, drift.jpeg) if drift.jpeg else moved


def compressed(picture: Tensor, quality: int) -> Tensor:
    """[1, H, W, 3] after JPEG."""
    buffer = io.BytesIO()
    Image.fromarray((picture[0] * 255).round().byte().numpy()).save(buffer, "JPEG", quality=quality)
    return torch.from_numpy(np.asarray(Image.open(buffer)).astype(np.float32) / 255)[None]


def true_places(drift: Drift, size: Size, source: Size) -> Tensor:
    """[H, W, 2]: where in an edit of `size` each pixel of the source lies, by inverting the drift's map."""
    x, y = grid(source, torch.zeros(1, dtype=torch.float64))
    terms, goal = drift.back(size), torch.stack((x, y), -1)
    inverse = torch.linalg.inv(terms[:, 1:3])
    places = goal.clone()
    for _ in range(12):
        places = places + (goal - basis(places[..., 0], places[..., 1]) @ terms.T) @ inverse.T
    return places


def photo(seed: int, size: int = 512) -> Tensor:
    """A made-up photograph [1, size, size, 3]: textures of every scale, shapes in front of one another, light across."""
    generator = np.random.default_rng(seed)
    picture = _cloud(generator, size, 1.6) * 0.5 + 0.25
    y, x = np.mgrid[0:size, 0:size] / size
    for _ in range(14):
        cx, cy, r = generator.uniform(0, 1), generator.uniform(0, 1), generator.uniform(0.04, 0.22)
        turn, squash = generator.uniform(0, np.pi), generator.uniform(0.5, 1.5)
        u = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
        v = (-(x - cx) * np.sin(turn) + (y - cy) * np.cos(turn)) * squash
        far = np.hypot(u, v) if generator.random() < 0.5 else np.maximum(abs(u), abs(v))
        cover = np.clip((r - far) * size + 0.5, 0, 1)[..., None]
        paint = generator.uniform(0.1, 0.9, 3) + 0.25 * (_cloud(generator, size, generator.uniform(0.8, 1.8)) - 0.5)
        picture = picture * (1 - cover) + paint * cover
    picture = picture * (0.85 + 0.3 * x[..., None])
    picture = np.clip(picture + generator.normal(0, 0.008, picture.shape), 0, 1)
    return torch.from_numpy((picture * 255).round().astype(np.float32) / 255)[None]


def _cloud(generator: np.random.Generator, size: int, power: float) -> np.ndarray:
    """Noise [size, size, 3] in 0–1 whose amplitude falls with the frequency to this power."""
    across, down = np.fft.rfftfreq(size), np.fft.fftfreq(size)
    falls = np.maximum(np.hypot(across[None], down[:, None]), 1 / size) ** -power
    waves = np.fft.rfft2(generator.normal(size=(4, size, size))) * falls
    fields = np.fft.irfft2(waves, (size, size))
    fields = (fields - fields.mean((1, 2), keepdims=True)) / fields.std((1, 2), keepdims=True)
    return np.clip(0.5 + 0.2 * (fields[0] * 0.8 + 0.4 * fields[1:]), 0, 1).transpose(1, 2, 0)


LOCAL = (Task.REMOVE, Task.ADD, Task.COLOR, Task.MATERIAL, Task.REPLACE, Task.TEXT, Task.PORTRAIT, Task.ACTION)
GLOBAL = (Task.STYLE, Task.TONE, Task.CAMERA)


def case(seed: int, side: int, photos: Sequence[Tensor] = ()) -> tuple[str, Tensor, Tensor]:
    """A local edit of this seed: its kind, the source and the exact edit, [1, side, side, 3].

    Of a scene or, at odd seeds, of a made-up photograph with a patch of another; of one of `photos` if there are any.
    """
    generator = np.random.default_rng(seed)
    if photos:
        first, second = generator.permutation(len(photos))[:2]
        return "photographs", photos[first], _patched(generator, photos[first], photos[second])
    if seed % 2:
        source = photo(seed, side)
        return "made-up photographs", source, _patched(generator, source, photo(seed + 1000, side))
    edit = make_case(seed, LOCAL[seed // 2 % len(LOCAL)], size=side)
    kind = "scenes, thin edits" if edit.task in (Task.TEXT, Task.PORTRAIT) else "scenes"
    return kind, from_bytes(edit.source), from_bytes(edit.target)


def global_case(seed: int, side: int) -> tuple[str, Tensor, Tensor]:
    """An edit of the whole picture: its task, the source, and the edit as an editor gives it, with a drift or without."""
    task = GLOBAL[seed % len(GLOBAL)]
    edit = make_case(seed, task, size=side)
    plain = Drift(blur=0.6, noise=0.005, jpeg=92)
    drift = drawn(np.random.default_rng(seed)) if seed % 2 else plain
    return task.english, from_bytes(edit.source), drifted(from_bytes(edit.target), drift, seed)


def _patched(generator: np.random.Generator, source: Tensor, other: Tensor) -> Tensor:
    """`other` within an ellipse of a twelfth to two fifths of the side."""
    height, width = source.shape[1:3]
    tall, wide = generator.uniform(height / 12, height / 5, 2)
    down, across = generator.uniform(tall, height - tall), generator.uniform(wide, width - wide)
    y, x = np.mgrid[0:height, 0:width]
    far = np.hypot((y - down) / tall, (x - across) / wide)
    cover = torch.from_numpy(np.clip((1 - far) * min(tall, wide) + 0.5, 0, 1).astype(np.float32))[None, ..., None]
    return torch.lerp(source, other, cover)
