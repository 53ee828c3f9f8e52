"""Trains the embedded autoencoder from seeds alone: `python -m x2edit_core.miniature.train_autoencoder FOLDER`.

Works in short stages: pictures and checkpoints are kept in FOLDER, a second call goes on where the first stopped, and
what a step sees depends only on the seed and the step. Writes `autoencoder.safetensors` there when all steps are done.
"""

from __future__ import annotations

import argparse
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..files import save_atomically, save_pickled
from ..scenes import Split, make_case, make_picture
from .autoencoder import Autoencoder, initial_weights, to_picture, to_pixels

logger = logging.getLogger(__name__)

CHUNK = 100
SAVE_EVERY = 100
CHECKPOINT = "checkpoint.pt"
RESULT = "autoencoder.safetensors"
EMA = 0.999


@dataclass(frozen=True)
class Plan:
    """What is trained; two runs of the same plan give the same weights on the same kind of machine."""

    steps: int = 9000
    batch: int = 32
    cases: int = 1500
    heldout: int = 150
    size: int = 128
    seed: int = 0
    rate: float = 2e-3
    noise: float = 0.08
    """Largest noise on the latents, in their standard deviations: what a sampler leaves must not show."""
    spread_weight: float = 0.02


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train the embedded autoencoder in resumable stages.")
    parser.add_argument("folder", type=Path, help="where pictures, checkpoints and the result are kept")
    parser.add_argument("--steps", type=int, default=Plan.steps)
    parser.add_argument("--cases", type=int, default=Plan.cases, help="training cases drawn, two pictures each")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after this long; call again to go on")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    train(Plan(steps=options.steps, cases=options.cases), options.folder, options.minutes * 60, options.device)


def train(plan: Plan, folder: Path, seconds: float, device: str = "cpu") -> Path | None:
    """One stage of at most about `seconds`; the result's path once every step is done, None before."""
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    pictures = drawn(folder, plan.cases, "train", plan.size)
    state = _State(plan, folder, device)
    while state.step < plan.steps:
        loss = state.advance(pictures)
        if state.step % SAVE_EVERY == 0 or state.step == plan.steps:
            state.save()
            logger.info("step %d of %d, loss %.3f", state.step, plan.steps, loss)
            if time.monotonic() > deadline and state.step < plan.steps:
                return None
    return state.export()


def drawn(folder: Path, cases: int, split: Split, size: int) -> Tensor:
    """Sources and targets of the first cases of a split, uint8 [2 · cases, size, size, 3], drawn once."""
    chunks = []
    for start in range(0, cases, CHUNK):
        stop = min(start + CHUNK, cases)
        file = folder / f"{split}-{size}-{start}-{stop}.npy"
        if not file.exists():
            found = [make_case(seed, split=split, size=size) for seed in range(start, stop)]
            np.save(file, np.stack([picture for case in found for picture in (case.source, case.target)]))
            logger.info("drawn %s", file.name)
        chunks.append(np.load(file))
    return torch.from_numpy(np.concatenate(chunks))


class _State:
    """Everything a step changes, and its file."""

    def __init__(self, plan: Plan, folder: Path, device: str) -> None:
        self.plan, self.folder, self.device = plan, folder, device
        self.network = Autoencoder().to(device, memory_format=torch.channels_last)
        self.network.load_state_dict(initial_weights(plan.seed))
        self.average = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self.optimiser = torch.optim.AdamW(self.network.parameters(), plan.rate, betas=(0.9, 0.98), weight_decay=0.0)
        self.step = 0
        if (folder / CHECKPOINT).exists():
            saved = torch.load(folder / CHECKPOINT, map_location=device, weights_only=True)
            self.network.load_state_dict(saved["network"])
            self.optimiser.load_state_dict(saved["optimiser"])
            self.average, self.step = saved["average"], saved["step"]

    def save(self) -> None:
        content = {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average,
            "step": self.step,
        }
        save_pickled(content, self.folder / CHECKPOINT)

    def advance(self, pictures: Tensor) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.rate * _schedule(self.step, self.plan.steps)
        generator = torch.Generator().manual_seed(self.plan.seed * 1_000_003 + self.step)
        loss = _loss(self.network, _batch(pictures, self.plan.batch, generator).to(self.device), self.plan, generator)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        share = min(EMA, self.step / (self.step + 10))
        for name, tensor in self.network.state_dict().items():
            self.average[name].lerp_(tensor, 1 - share)
        return loss.item()

    def export(self) -> Path:
        """The averaged weights in bfloat16; the metadata says how good they are on held-out scenes and edits.

        Edits include drawings, noise and mosaics, which are harder than any scene.
        """
        plan, weights = self.plan, {name: tensor.to("cpu", torch.bfloat16) for name, tensor in self.average.items()}
        scenes = np.stack([make_picture(seed, "heldout", plan.size)[0] for seed in range(plan.heldout)])
        quality = {
            "scenes": evaluate(weights, torch.from_numpy(scenes)),
            "edits": evaluate(weights, drawn(self.folder, plan.heldout, "heldout", plan.size)),
        }
        report = {f"{of}_{name}": f"{value:.2f}" for of, found in quality.items() for name, value in found.items()}
        logger.info("held-out: %s", report)
        path = self.folder / RESULT
        save_atomically(weights, path, {"kind": "x2edit demo autoencoder", "steps": str(self.step), **report})
        return path


def _schedule(step: int, steps: int) -> float:
    """Rise over the first two hundred steps, then a half cosine down to a hundredth."""
    return min(1.0, (step + 1) / 200) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _batch(pictures: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Pictures in −1…1; every second batch is cropped off the patch grid, since sources come in any position."""
    chosen = pictures[torch.randint(len(pictures), (count,), generator=generator)]
    off, down, right = torch.randint(8, (3,), generator=generator).tolist()
    if off < 4:
        chosen = chosen[:, down : down - 8 or None, right : right - 8 or None]
        chosen = chosen[:, : chosen.shape[1] // 8 * 8, : chosen.shape[2] // 8 * 8]
    return to_pixels(chosen).contiguous(memory_format=torch.channels_last)


def _loss(network: Autoencoder, pixels: Tensor, plan: Plan, generator: torch.Generator) -> Tensor:
    """Mean logarithm of each picture's error, so that every picture's decibels count alike, and unit latents."""
    with torch.autocast(pixels.device.type, dtype=torch.bfloat16):
        latent = network.encode_normal(pixels)
    latent = latent.float()
    level = plan.noise * torch.rand(len(pixels), 1, 1, 1, generator=generator)
    noise = level * torch.randn(latent.shape, generator=generator)
    with torch.autocast(pixels.device.type, dtype=torch.bfloat16):
        decoded = network.decode_normal(latent + noise.to(latent.device))
    errors = ((decoded.float() - pixels) / 2).square().mean((1, 2, 3))
    variance, mean = torch.var_mean(latent, (0, 2, 3))
    spread = (mean.square() + (variance + 1e-3).log().square()).sum()
    return (errors + 5e-5).log().mean() + plan.spread_weight * spread


def evaluate(weights: dict[str, Tensor], pictures: Tensor) -> dict[str, float]:
    """Mean PSNR over the pictures in decibels, its worst tenth, and the latents' smallest and largest deviation."""
    network = Autoencoder()
    network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    quality, latents = [], []
    with torch.no_grad():
        for some in pictures.split(16):
            latents.append(network.encode_normal(to_pixels(some)))
            error = (to_picture(network.decode_normal(latents[-1])).float() - some.float()) / 255
            quality.append(-10 * error.square().mean((1, 2, 3)).clamp(min=1e-9).log10())
    decibels, deviation = torch.cat(quality), torch.cat(latents).std((0, 2, 3))
    return {
        "psnr_db": float(decibels.mean()),
        "psnr_db_worst_tenth": float(decibels.quantile(0.1)),
        "latent_deviation_min": float(deviation.min()),
        "latent_deviation_max": float(deviation.max()),
    }


if __name__ == "__main__":
    main()
