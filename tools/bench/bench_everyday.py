"""Everyday steps that wait or load less than they would: counted, and timed beside the way without, in one run.

filter     how often FLUX and VAE take one another's place before a judge on this machine has chosen among six seeds:
           with each candidate decoded as soon as it is there, and with all of them decoded once all are denoised
score      how often X2Edit Score reads its encoder from disk in three runs, and their processor time: held by nobody
           between them, and in the host's managed memory
evaluate   the time of six cases whose judge takes as long as their edits: each case edited and scored before the next,
           and the next one handed to the host while one is scored

The models are the embedded ones; the encoder has random weights in DINO's smallest published size.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import torch
from devkit import inprocess
from devkit.host import Host
from devkit.layout import WORKFLOWS
from devkit.replace import with_demo_models
from devkit.server import Server
from measure import machine, median_ratio, write_json

from x2edit_core.chat.endpoint import EndpointChat
from x2edit_core.choosing.judge import ScoreJudge
from x2edit_core.evaluate.editor import Editor
from x2edit_core.evaluate.run import Evaluation
from x2edit_core.evaluate.scenes import embedded_round_trip, scene_cases
from x2edit_core.evaluate.scores import Scorer
from x2edit_core.workflow.client import Client
from x2edit_core.workflow.files import load_graph

SEEDS, STEPS, EARLY = 6, 8, 2
SIDE_PX = 64
RUNS = 3
CASES = 6
EDIT_STEPS = 4
ENCODER = "bench-dino"
Figures = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "parts", nargs="*", metavar="part", help="filter, score or evaluate; all of them if none is named"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of the timed parts")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    wanted = args.parts or ["filter", "score", "evaluate"]
    if unknown := set(wanted) - {"filter", "score", "evaluate"}:
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    figures: Figures = {"machine": machine(torch.device("cpu"))}
    with tempfile.TemporaryDirectory() as folder:
        if {"filter", "score"} & set(wanted):
            pack = _pack(Path(folder) / "host")
            parts = {"filter": lambda: swaps(pack), "score": lambda: reads(pack, args.rounds)}
            figures |= {name: part() for name, part in parts.items() if name in wanted}
        if "evaluate" in wanted:
            figures["evaluate"] = overlap(Path(folder) / "evaluation", args.rounds)
    write_json(args.json, figures)


def _pack(base: Path) -> inprocess.Pack:
    inprocess.prepare(Path(os.environ["COMFYUI_PATH"]), base)
    return inprocess.Pack(base)


class Second:
    """A judge of no cost that prefers the second of any two; a remote one is shown each candidate as soon as it is there."""

    name = "the second"

    def __init__(self, verdict: Any, remote: bool) -> None:
        self._verdict, self.remote = verdict, remote

    def compare(self, source: Any, a: Any, b: Any, instruction: str) -> Any:
        return self._verdict("B")


def swaps(pack: inprocess.Pack) -> Figures:
    """Changes of place between FLUX and VAE until the choice, counted where the host is asked for a model."""
    base, clip, vae = pack.run("X2EditDemoModels", base="x2edit")
    (adapter,) = pack.run("X2EditAdapterLoader", adapter_name="embedded: x2edit")
    (model,) = pack.run("X2EditApply", model=base, adapter=adapter)
    (text,) = pack.run("CLIPTextEncode", clip=clip, text="make it red")
    source = torch.rand(1, SIDE_PX, SIDE_PX, 3)
    positive, latent, layout = pack.run("X2EditReference", conditioning=text, vae=vae, image=source, size="keep")
    graph = {"model": model, "positive": positive, "negative": positive, "latent": latent, "source": source,
             "layout": layout, "vae": vae, "seed": 0, "seeds": SEEDS, "early_steps": EARLY, "steps": STEPS, "cfg": 1.0,
             "sampler": "euler", "scheduler": "simple", "mode": "continue", "instruction": "make it red"}  # fmt: skip
    verdict = pack.core("choosing.judge").Verdict
    found = {}
    for name, early in (("decoded as they come", True), ("decoded when all are there", False)):
        with _asked_for(vae) as asked:
            pack.run("X2EditEarlyFilter", judge=Second(verdict, early), **graph)
        found[name] = {"swaps": sum(one != other for one, other in pairwise(asked)), "decoded": asked.count("vae")}
        print(f"early filter of {SEEDS} seeds, {name:28} {found[name]['swaps']:3} swaps")
    return {"seeds": SEEDS, "ways": found}


@contextmanager
def _asked_for(vae: Any) -> Iterator[list[str]]:
    from comfy import model_management

    asked: list[str] = []
    load = model_management.load_models_gpu

    def counted(models: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append("vae" if any(model.model is vae.first_stage_model for model in models) else "flux")
        return load(models, *args, **kwargs)

    model_management.load_models_gpu = counted
    try:
        yield asked
    finally:
        model_management.load_models_gpu = load


def reads(pack: inprocess.Pack, rounds: int) -> Figures:
    """Reads of an encoder's weights from its folder, and seconds, in a few runs of X2Edit Score."""
    import transformers

    _save_encoder(pack.base / "models" / "clip_vision" / ENCODER)
    encoders = pack.core("comfy_bridge.encoders")
    pictures = {name: torch.rand(1, 224, 224, 3) for name in ("source", "image")}
    read: Any = transformers.AutoModel.from_pretrained
    count = [0]

    def counted(*args: Any, **kwargs: Any) -> Any:
        count[0] += 1
        return read(*args, **kwargs)

    def scored(keep: bool) -> None:
        encoders._kept.clear()
        for _ in range(RUNS):
            if not keep:
                encoders._kept.clear()
            pack.run("X2EditScore", **pictures, instruction="", metric="dino_source", encoder=f"clip_vision/{ENCODER}")

    ways: dict[str, Callable[[], None]] = {"held by nobody": lambda: scored(False), "kept": lambda: scored(True)}
    transformers.AutoModel.from_pretrained = counted
    try:
        seconds, counts = _in_turn(ways, rounds, lambda: count[0], time.process_time)
    finally:
        transformers.AutoModel.from_pretrained = read
    return {"runs": RUNS, "ways": _rows(ways, seconds, "score", {name: {"reads": counts[name]} for name in ways})}


def _save_encoder(folder: Path) -> None:
    import transformers

    torch.manual_seed(0)
    size = {"height": 224, "width": 224}
    transformers.Dinov2Model(
        transformers.Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=518, patch_size=14)
    ).save_pretrained(folder)
    transformers.BitImageProcessor(size={"shortest_edge": 224}, crop_size=size).save_pretrained(folder)


def overlap(folder: Path, rounds: int) -> Figures:
    """Seconds of an evaluation with a judge that takes as long as the edits."""
    with Server(Host(os.environ["COMFYUI_PATH"], sys.executable, "")) as server, _thinking() as judge:
        graph = with_demo_models(load_graph(WORKFLOWS / "Image Edit (X2Edit).json", server))
        for node in graph.values():
            if isinstance(node["inputs"].get("steps"), int):
                node["inputs"]["steps"] = EDIT_STEPS
        editor = Editor(Client(server.url), graph)
        cases = list(islice(scene_cases(CASES, size=SIDE_PX), CASES))
        chat = EndpointChat(f"http://127.0.0.1:{judge.server_port}/v1", "a-judge", vision=True)
        scorer = Scorer(embedded_round_trip, judge=ScoreJudge(chat))
        fresh = iter(range(1, 1 << 20))

        def evaluation() -> Evaluation:
            number = next(fresh)
            return Evaluation(editor, scorer, folder / str(number), seed=number)

        def one_by_one() -> None:
            whole = evaluation()
            for case in cases:
                whole.run([case])

        ways = {"one after the other": one_by_one, "the next one queued": lambda: _scored(evaluation().run(cases))}
        ways["the next one queued"]()
        judge.thinks_s = _seconds_of_an_edit(evaluation(), cases) / 2  # it is asked twice a case
        seconds, _ = _in_turn(ways, rounds, lambda: 0)
    return {"cases": CASES, "judge_s": 2 * judge.thinks_s, "ways": _rows(ways, seconds, "evaluate", {})}


def _seconds_of_an_edit(evaluation: Evaluation, cases: Any) -> float:
    """With a judge that answers at once."""
    began = time.perf_counter()
    for case in cases:
        evaluation.run([case])
    return (time.perf_counter() - began) / len(cases)


def _scored(outcomes: Any) -> None:
    faults = [outcome.error or outcome.fault for outcome in outcomes if not outcome.done]
    if faults:
        raise SystemExit(f"{len(faults)} cases were not scored: {faults[0]}")


class Judge(BaseHTTPRequestHandler):
    """Answers in the form of a chat server, after a while."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(getattr(self.server, "thinks_s", 0.0))
        message = {"role": "assistant", "content": '{"score": [7, 8], "reasoning": "as asked"}'}
        body = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def _thinking() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
    server.daemon_threads, server.thinks_s = True, 0.0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def _in_turn(
    ways: dict[str, Callable[[], None]],
    rounds: int,
    counter: Callable[[], int],
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Seconds by `clock` of each way in each round, and what `counter` rose by in its last one."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    counts: dict[str, int] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            before, began = counter(), clock()
            way()
            seconds[name].append(clock() - began)
            counts[name] = counter() - before
    return seconds, counts


def _rows(ways: Any, seconds: dict[str, list[float]], part: str, more: dict[str, dict[str, int]]) -> Figures:
    first = next(iter(ways))
    rows = {
        name: {"seconds": statistics.median(seconds[name]), "over_first": median_ratio(seconds[name], seconds[first])}
        | more.get(name, {})
        for name in ways
    }
    for name, row in rows.items():
        told = f", read {row['reads']} times" if "reads" in row else ""
        print(f"{part}, {name:28} {row['seconds']:7.2f} s, {row['over_first']:.2f} × the first{told}")
    return rows


if __name__ == "__main__":
    main()
