"""The early filter's evaluations and wall time against full best-of-M and the paper's mode; on scenes, what it is worth.

Without options, a stub judge decides at once, so that only denoising is timed, on the embedded models in this process.

--scenes N --looks FOLDER edits N scenes whose exact result is known, with each of M seeds in full, and keeps every step
on the way; a second run goes on where the first ended. --looks FOLDER alone replays them with a judge that knows the exact
score, as it is and with planted mistakes: right edits and evaluations of one seed, of each mode and of full best-of-M, and
how often the ranking at step k agrees with the final one. It needs embedded models that can edit: an adapter trained on
scenes, named by --adapter as the loader lists it.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from devkit import inprocess
from measure import machine, median_ratio, write_json

from bench import filter_yield, looks

M, N, EARLY = 6, 28, 10
MODES = ("paper", "continue", "halving")
SCENE_PX = 128


class StubJudge:
    """Prefers the second of any two, so that every comparison changes the champion."""

    name, remote = "a stub", False

    def __init__(self, verdict: Any) -> None:
        self._verdict = verdict

    def compare(self, source: Any, a: Any, b: Any, instruction: str) -> Any:
        return self._verdict("B")


class Bench:
    """The demo graph of one edit, ready to be sampled by KSampler or the filter."""

    def __init__(self, pack: inprocess.Pack, adapter: str, side_px: int) -> None:
        self.pack = pack
        self.base, self.clip, self.vae = pack.run("X2EditDemoModels", base="x2edit")
        (self.adapter,) = pack.run("X2EditAdapterLoader", adapter_name=adapter)
        self.judge: Any = StubJudge(pack.core("choosing.judge").Verdict)
        self.set_edit(torch.rand(1, side_px, side_px, 3), "make it red", "style")

    def set_edit(self, source: torch.Tensor, instruction: str, task: str) -> None:
        (choice,) = self.pack.run("X2EditTask", task=task)
        (model,) = self.pack.run("X2EditApply", model=self.base, adapter=self.adapter, task=choice)
        (text,) = self.pack.run("CLIPTextEncode", clip=self.clip, text=instruction)
        positive, latent, layout = self.pack.run(
            "X2EditReference", conditioning=text, vae=self.vae, image=source, size="keep"
        )
        self.source, self.instruction, self.layout = source, instruction, layout
        self.inputs = {"model": model, "positive": positive, "negative": positive}
        self.latent = latent

    def full(self, seed: int) -> Any:
        (done,) = self.pack.run(
            "KSampler", **self.inputs, latent_image=self.latent, seed=seed, steps=N, cfg=1.0, sampler_name="euler",
            scheduler="simple", denoise=1.0,
        )  # fmt: skip
        return self.pack.run("VAEDecode", samples=done, vae=self.vae)[0]

    def looks(self, seeds: range, steps: int) -> list[list[torch.Tensor]]:
        """The pictures predicted after every step of a run, the last being its result, one list for each seed.

        The seeds go through as one batch, which differs from single runs in the last bits.
        """
        import comfy.sample

        seen: list[torch.Tensor] = []
        process_out = self.base.model.process_latent_out
        samples = self.latent["samples"]
        noise = torch.cat([comfy.sample.prepare_noise(samples, seed) for seed in seeds])
        with torch.inference_mode():
            comfy.sample.sample(
                self.inputs["model"], noise, steps, 1.0, "euler", "simple", self.inputs["positive"],
                self.inputs["negative"], samples.repeat(len(seeds), 1, 1, 1), seed=seeds[0], disable_pbar=True,
                callback=lambda step, denoised, x, total: seen.append(process_out(denoised.cpu())),
            )  # fmt: skip
            return [list(row) for row in zip(*(self.vae.decode(latent) for latent in seen), strict=True)]

    def best_of_all(self, first_seed: int) -> None:
        for seed in range(first_seed, first_seed + M):
            self.full(seed)

    def filtered(self, mode: str, first_seed: int, early: int = EARLY) -> tuple[Any, ...]:
        return self.pack.run(
            "X2EditEarlyFilter", **self.inputs, latent=self.latent, vae=self.vae, judge=self.judge, source=self.source,
            instruction=self.instruction, layout=self.layout, seed=first_seed, seeds=M, early_steps=early, steps=N,
            cfg=1.0, sampler="euler", scheduler="simple", mode=mode, order="champion",
        )  # fmt: skip


def evaluations(bench: Bench, call: Callable[[], Any]) -> int:
    """How often the model is evaluated in `call`, counted at the host's own function."""
    base, count = bench.base.model, 0
    inner = base.apply_model

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        return inner(*args, **kwargs)

    base.apply_model = counted
    try:
        call()
    finally:
        del base.apply_model
    return count


def cost(bench: Bench, rounds: int) -> dict[str, Any]:
    """Evaluations and wall time of each way to choose among M seeds; the ways take turns within one process."""
    ways: dict[str, Callable[[], Any]] = {"best of M in full": lambda: bench.best_of_all(0)}
    ways |= {mode: (lambda mode=mode: bench.filtered(mode, 0)) for mode in MODES}
    counts = {name: evaluations(bench, call) for name, call in ways.items()}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _, (name, call) in itertools.product(range(rounds), ways.items()):
        start = time.perf_counter()
        call()
        times[name].append(time.perf_counter() - start)
    rows = {}
    for name, found in times.items():
        rows[name] = {
            "evaluations": counts[name],
            "seconds": statistics.median(found),
            "time_over_best_of_m": median_ratio(found, times["best of M in full"]),
            "time_over_paper": median_ratio(found, times["paper"]),
        }
        print(
            f"{name:20} {counts[name]:4} evaluations {rows[name]['seconds']:8.2f} s "
            f"{rows[name]['time_over_best_of_m']:6.2f} × best of M {rows[name]['time_over_paper']:6.2f} × paper"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, help="side of the pictures in pixels: 64 for the cost, 128 for scenes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scenes", type=int, default=0, metavar="N", help="edit N scenes; needs trained models")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the first scene's number")
    parser.add_argument("--looks", type=Path, metavar="FOLDER", help="where every step of those scenes is kept")
    parser.add_argument("--adapter", default="embedded: x2edit", help="as Load X2Edit Adapter lists it")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    if args.scenes and args.looks is None:
        parser.error("--scenes needs --looks FOLDER, where the steps of the scenes are kept")
    with tempfile.TemporaryDirectory() as base:
        inprocess.prepare(Path(os.environ["COMFYUI_PATH"]), Path(base))
        comfy_utils = importlib.import_module("comfy.utils")
        comfy_utils.set_progress_bar_enabled(False)
        bench = Bench(inprocess.Pack(Path(base)), args.adapter, args.side or 64)
        if args.scenes:
            looks.record(bench, args.looks, range(args.first, args.first + args.scenes), M, args.side or SCENE_PX)
            return
        figures: dict[str, Any] = {"machine": machine(torch.device("cpu")), "M": M, "n": N, "m": EARLY}
        print(f"M = {M}, n = {N}, m = {EARLY}; {figures['machine']['device']}, torch {torch.__version__}")
        figures["cost"] = cost(bench, args.rounds)
    if args.looks:
        figures["scenes"] = filter_yield.figures(list(looks.read(args.looks)))
        print(filter_yield.told(figures["scenes"]))
    write_json(args.json, figures)


if __name__ == "__main__":
    main()
