"""The early filter's evaluations and wall time against full best-of-M and the paper's mode; on scenes, what it is worth.

Without options, a stub judge decides at once, so that only denoising is timed, on the embedded models in this process.

--scenes N edits N scenes whose exact result is known, with each of M seeds in full, and looks at every step on the way.
The exact score is the judge. It tells the success rate of one seed, of each mode and of full best-of-M, and how often
the ranking at step k agrees with the final one. It needs embedded models that can edit: an adapter trained on scenes,
named by --adapter as the loader lists it.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from devkit import inprocess
from measure import machine, median_ratio, write_json

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

    def looks(self, seed: int) -> list[torch.Tensor]:
        """The picture predicted after every step of the full run, the last being its result."""
        import comfy.sample

        seen: list[torch.Tensor] = []
        process_out = self.base.model.process_latent_out
        with torch.inference_mode():
            comfy.sample.sample(
                self.inputs["model"], comfy.sample.prepare_noise(self.latent["samples"], seed), N, 1.0, "euler", "simple",
                self.inputs["positive"], self.inputs["negative"], self.latent["samples"], seed=seed, disable_pbar=True,
                callback=lambda step, denoised, x, total: seen.append(process_out(denoised.cpu())),
            )  # fmt: skip
            return [self.vae.decode(latent)[0] for latent in seen]

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


def scenes(bench: Bench, count: int) -> dict[str, Any]:
    """Success of each way to choose on `count` scenes, and the agreement of early and final ranking by step."""
    make_case = bench.pack.core("scenes").make_case
    outcomes: dict[str, list[bool]] = {name: [] for name in ("one seed", "best of M in full", *MODES)}
    agreement: dict[int, list[float]] = {step: [] for step in range(1, N + 1)}
    for number in range(count):
        case = make_case(number, split="heldout", size=SCENE_PX)
        bench.set_edit(torch.from_numpy(case.source.copy()).float()[None] / 255, case.instruction, case.task.english)
        quality = _quality(bench, case)
        bench.judge = _ExactJudge(bench.pack.core("choosing.judge").Verdict, quality)
        seeds = range(1000 * number, 1000 * number + M)
        looks = [[quality(picture) for picture in bench.looks(seed)] for seed in seeds]
        final = [found[-1] for found in looks]
        outcomes["one seed"].append(final[0][0])
        outcomes["best of M in full"].append(max(final)[0])
        for mode in MODES:
            latent = bench.filtered(mode, seeds[0])[0]["samples"]
            outcomes[mode].append(quality(bench.vae.decode(latent)[0])[0])
        for step in agreement:
            agreement[step].append(_agreement([found[step - 1] for found in looks], final))
        print(f"{number + 1}/{count} {case.task.name.lower()}", file=sys.stderr)
    rates = {name: statistics.mean(found) for name, found in outcomes.items()}
    curve = {step: statistics.mean(found) for step, found in agreement.items()}
    for name, rate in rates.items():
        print(f"{name:20} success {rate:.1%}")
    print("share of pairs that the prediction at step k ranks as the end does:")
    for step, share in curve.items():
        print(f"{step:4} {share:.2f} {'#' * round(40 * share)}")
    return {"success": rates, "pair_agreement_by_step": curve, "cases": count}


def _quality(bench: Bench, case: Any) -> Callable[[torch.Tensor], tuple[bool, float]]:
    """Success first, then nearness to the target: what the exact judge goes by, for pictures [H, W, 3]."""
    score = bench.pack.core("scenes.scenebench").score
    trips: dict[bytes, Any] = {}

    def round_trip(picture: Any) -> Any:
        key = picture.tobytes()
        if key not in trips:
            pixels = torch.from_numpy(picture.copy()).float()[None] / 255
            trips[key] = _pixels(bench.vae.decode(bench.vae.encode(pixels))[0])
        return trips[key]

    def quality(picture: torch.Tensor) -> tuple[bool, float]:
        found = score(case, _pixels(picture), round_trip)
        return found.success, found.psnr_db

    return quality


def _pixels(picture: torch.Tensor) -> Any:
    return (picture.float().cpu() * 255).round().clamp(0, 255).byte().numpy()


class _ExactJudge:
    """Knows the answer: prefers the picture with the better score."""

    name, remote = "the exact score", False

    def __init__(self, verdict: Any, quality: Callable[[Any], Any]) -> None:
        self._verdict, self._quality = verdict, quality

    def compare(self, source: Any, a: Any, b: Any, instruction: str) -> Any:
        first, second = self._quality(a), self._quality(b)
        return self._verdict("tie" if first == second else "A" if first > second else "B")


def _agreement(early: Sequence[Any], final: Sequence[Any]) -> float:
    """Share of pairs whose order is the same; 1/2 is chance."""
    pairs = [(i, j) for i, j in itertools.combinations(range(len(final)), 2) if final[i] != final[j]]
    same = sum((early[i] > early[j]) == (final[i] > final[j]) for i, j in pairs)
    return same / len(pairs) if pairs else 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=64, help="side of the stub's picture in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scenes", type=int, default=0, metavar="N", help="also edit N scenes; needs trained models")
    parser.add_argument("--adapter", default="embedded: x2edit", help="as Load X2Edit Adapter lists it")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        inprocess.prepare(Path(os.environ["COMFYUI_PATH"]), Path(base))
        comfy_utils = importlib.import_module("comfy.utils")
        comfy_utils.set_progress_bar_enabled(False)
        bench = Bench(inprocess.Pack(Path(base)), args.adapter, args.side)
        figures: dict[str, Any] = {"machine": machine(torch.device("cpu")), "M": M, "n": N, "m": EARLY}
        print(f"M = {M}, n = {N}, m = {EARLY}; {figures['machine']['device']}, torch {torch.__version__}")
        figures["cost"] = cost(bench, args.rounds)
        if args.scenes:
            figures["scenes"] = scenes(bench, args.scenes)
    write_json(args.json, figures)


if __name__ == "__main__":
    main()
