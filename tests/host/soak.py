"""One server under load for a long time: shipped graphs at random, with faults at random, from two clients."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import statistics
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import torch
from devkit.layout import WORKFLOWS
from devkit.pictures import draw_source
from devkit.replace import with_demo_models, with_picture
from safetensors.torch import load_file, save_file

from x2edit_core.workflow.client import Client, PromptError
from x2edit_core.workflow.graph import to_api

from .runs import edit_graph, node

WARM_UP = 50
MOST_STEPS = 4
"""Of each graph: what a long run shall find lies between prompts, not in the number of steps."""
SMALL_DISK = 256 << 10
FAULTS = ("interrupt", "nan latent", "lost judge", "full output folder", "deleted model file")
OWN_ADAPTER = "soak.safetensors"
_SAMPLERS = {"KSampler": "latent_image", "SamplerCustom": "latent_image", "SamplerCustomAdvanced": "latent_image",
             "X2EditEarlyFilter": "latent", "X2EditEarlyFilterAdvanced": "latent"}  # fmt: skip


class HangsUp(BaseHTTPRequestHandler):
    """A judge that ends the connection in the middle of its answer."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'{"choices": [')
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@dataclass
class Figures:
    """What was seen: endings by fault, and after each prompt resident megabytes, open files and threads."""

    endings: Counter[str] = field(default_factory=Counter)
    resident_mb: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def growth_mb_per_hundred(self, warm_up: int = WARM_UP) -> float:
        """The slope of resident memory by Theil and Sen, which single peaks do not turn."""
        kept = self.resident_mb[warm_up:]
        step = max(1, len(kept) // 100)
        points = list(enumerate(kept))[::step]
        slopes = [(b - a) / (j - i) for i, a in points for j, b in points if j > i]
        return 100 * statistics.median(slopes) if slopes else 0.0

    def summary(self, warm_up: int = WARM_UP) -> dict[str, Any]:
        def ends(values: list[int]) -> list[int]:
            return [statistics.mode(part) for part in (values[warm_up : warm_up + 10], values[-10:]) if part]

        return {
            "prompts": len(self.resident_mb), "seconds": round(self.seconds), "endings": dict(sorted(self.endings.items())),
            "resident_mb": [round(value) for value in (self.resident_mb[0], *self.resident_mb[warm_up::50][:12])],
            "growth_mb_per_hundred": round(self.growth_mb_per_hundred(warm_up), 2),
            "files": ends(self.files), "threads": ends(self.threads), "unanswered": self.unanswered,
        }  # fmt: skip


class Soak:
    """Random graphs on `server`; `base_latent` is the bare base's own work, before and after."""

    def __init__(self, server: Any, seed: int = 0) -> None:
        self.server, self.random = server, random.Random(seed)
        self.clients = [Client(server.url), Client(server.url)]
        self.process = psutil.Process(server.pid)
        self.figures = Figures()
        self._judge = ThreadingHTTPServer(("127.0.0.1", 0), HangsUp)
        self._judge.daemon_threads = True
        threading.Thread(target=self._judge.serve_forever, daemon=True).start()
        self._judge_address = f"http://127.0.0.1:{self._judge.server_port}/v1"
        self._prepare()

    def close(self) -> None:
        self._judge.shutdown()
        self._judge.server_close()
        if self._small_disk:
            subprocess.run(["umount", "-l", str(self._full)], check=False)

    def _prepare(self) -> None:
        base: Path = self.server.base
        draw_source(base / "source.png")
        picture = self.server.upload_image(base / "source.png")
        info = self.server.object_info()
        self.graphs = {
            path.stem: with_picture(
                with_demo_models(to_api(json.loads(path.read_text(encoding="utf-8")), info)), picture
            )
            for path in sorted(WORKFLOWS.glob("*.json"))
        }
        latent = {
            "latent_tensor": torch.full((1, 16, 16, 16), float("nan")),
            "latent_format_version_0": torch.tensor([]),
        }
        save_file(latent, base / "input" / "nan.latent")
        self._adapter = base / "models" / "x2edit" / OWN_ADAPTER
        self._kept = base / "soak.kept"
        self._adapter.parent.mkdir(parents=True, exist_ok=True)
        self._make_full(base / "output" / "full")

    def keep_adapter(self, file: Path) -> None:
        """The file that is deleted and brought back."""
        shutil.copyfile(file, self._kept)
        self._restore()

    def _restore(self) -> None:
        if not self._adapter.exists():
            shutil.copyfile(self._kept, self._adapter)

    def _make_full(self, folder: Path) -> None:
        """A disk without room where the system lets us make one; else a file in the folder's place."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        mount = shutil.which("mount")
        command = [mount or "", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(folder)]
        self._full = folder
        self._small_disk = bool(mount) and not subprocess.run(command, capture_output=True, check=False).returncode
        if self._small_disk:
            with contextlib.suppress(OSError), (folder / "filler").open("wb", 0) as file:
                while True:
                    file.write(bytes(4096))
        else:
            folder.rmdir()
            folder.write_bytes(b"")

    def base_latent(self, base: str = "x2edit") -> torch.Tensor:
        """What the bare base samples. The model itself stays in the host's cache from the first prompt to the last."""
        graph = edit_graph(adapter=None, seed=1, side=128)
        graph["models"] = node("X2EditDemoModels", base="x2edit")
        graph["keep"] = node("SaveLatent", samples=["sampler", 0], filename_prefix="soak/base")
        result = self.server.run(self._anchored(graph))
        saved = result.outputs["keep"]["latents"][0]
        return load_file(self.server.base / "output" / saved["subfolder"] / saved["filename"])["latent_tensor"]

    @staticmethod
    def _anchored(graph: dict[str, Any]) -> dict[str, Any]:
        """Both bases are in every prompt, so that the host never drops and reloads them."""
        anchors = {f"anchor-{base}": node("X2EditDemoModels", base=base) for base in ("x2edit", "fill")}
        seen = {f"see-{base}": node("PreviewAny", source=[f"anchor-{base}", 2]) for base in ("x2edit", "fill")}
        return {**graph, **anchors, **seen}

    def _drawn(self) -> tuple[str, dict[str, Any], str]:
        name = self.random.choice([*self.graphs, "own adapter"])
        graph = (
            edit_graph(OWN_ADAPTER, side=128) if name == "own adapter" else json.loads(json.dumps(self.graphs[name]))
        )
        fault = self.random.choice(("", *FAULTS))
        for item in graph.values():
            for seed in {"seed", "noise_seed"} & set(item["inputs"]):
                if not isinstance(item["inputs"][seed], list):
                    item["inputs"][seed] = self.random.randrange(1000)
            if isinstance(item["inputs"].get("steps"), int):
                item["inputs"]["steps"] = MOST_STEPS
        self._spoil(graph, fault)
        if fault == "deleted model file":
            graph = edit_graph(OWN_ADAPTER, seed=self.random.randrange(1000), side=128)
        return fault, self._anchored(graph), name

    def _spoil(self, graph: dict[str, Any], fault: str) -> None:
        """What a fault changes in a graph's inputs."""
        changes = {
            "nan latent": lambda kind: {socket: ["nan", 0]} if (socket := _SAMPLERS.get(kind)) else {},
            "lost judge": lambda kind: {"base_url": self._judge_address} if kind == "X2EditChatFromEndpoint" else {},
            "full output folder": lambda kind: {"filename_prefix": "full/x"} if kind == "SaveImage" else {},
        }
        if fault not in changes:
            return
        for item in graph.values():
            item["inputs"] |= changes[fault](item["class_type"])
        if fault == "nan latent":
            graph["nan"] = node("LoadLatent", latent="nan.latent")

    def one(self) -> None:
        """A prompt or two, from one client or both, and what they left."""
        self._restore()
        drawn = [self._drawn() for _ in range(1 + (self.random.random() < 0.25))]
        waiting = []
        for client, (fault, graph, name) in zip(self.random.sample(self.clients, 2), drawn, strict=False):
            try:
                if fault == "deleted model file" and self.random.random() < 0.5:
                    self._adapter.unlink(missing_ok=True)
                waiting.append((client, client.queue(graph), fault, name))
            except PromptError:
                self.figures.endings[f"{fault or 'no fault'}: refused"] += 1
                self._measure()
                continue
            if fault == "deleted model file":
                self._adapter.unlink(missing_ok=True)
            if fault == "interrupt":
                time.sleep(self.random.random() * 2)
                client.cancel(waiting[-1][1])
        for client, prompt, fault, name in waiting:
            self.figures.endings[f"{fault or 'no fault'}: {self._ending(client, prompt, name)}"] += 1
            self._measure()

    def _ending(self, client: Client, prompt: str, name: str) -> str:
        """How a prompt ended. The host's record of it is read and dropped: it is not ours, and grows."""
        end = time.monotonic() + 600
        while (record := client.history(prompt)) is None:
            queue = client.get_json("/queue")
            known = any(item[1] == prompt for part in queue.values() for item in part)
            if not known and client.history(prompt) is None:
                return "taken back"
            if time.monotonic() > end:
                self.figures.unanswered.append(f"{name} {prompt}")
                return "no answer"
            time.sleep(0.1)
        client.post_json("/history", {"delete": [prompt]})
        kinds = {kind for kind, _ in record["status"]["messages"]}
        return "interrupted" if "execution_interrupted" in kinds else record["status"]["status_str"]

    def _measure(self) -> None:
        self.figures.resident_mb.append(self.process.memory_info().rss / 2**20)
        self.figures.files.append(self.process.num_fds() if hasattr(self.process, "num_fds") else 0)
        self.figures.threads.append(self.process.num_threads())

    def run(self, prompts: int, seconds: float) -> Figures:
        """Go on until that many prompts have ended and, or, that much time is over."""
        began = time.monotonic()
        while len(self.figures.resident_mb) < prompts and time.monotonic() - began < seconds:
            self.one()
        self.figures.seconds = time.monotonic() - began
        return self.figures
