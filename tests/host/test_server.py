"""The pack in the real host: it loads cleanly, says what its nodes are, and behaves over HTTP."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from devkit.layout import PACK_NAME, REPO
from devkit.server import Server

from x2edit_core.workflow.client import PromptError, PromptInterrupted

SAMPLING = {
    "models": {"class_type": "X2EditDemoModels", "inputs": {"base": "x2edit"}},
    "text": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["models", 1], "text": "make it red"}},
    "latent": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "sampler": {
        "class_type": "KSampler",
        "inputs": {
            "model": ["models", 0], "positive": ["text", 0], "negative": ["text", 0], "latent_image": ["latent", 0],
            "seed": 1, "steps": 2, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0,
        },
    },
    "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["sampler", 0], "vae": ["models", 2]}},
    "save": {"class_type": "SaveImage", "inputs": {"images": ["decode", 0], "filename_prefix": "test"}},
}  # fmt: skip


def sampling(**changes):
    graph = json.loads(json.dumps(SAMPLING))
    graph["sampler"]["inputs"].update(changes)
    return graph


@pytest.fixture(scope="module")
def our_nodes(server, pack):
    info = server.object_info()
    return {node_id: info.get(node_id) for node_id in pack.node_ids}


def inputs_of(definition):
    return {
        name: spec for group in ("required", "optional") for name, spec in definition["input"].get(group, {}).items()
    }


def test_log_has_no_complaint_about_the_pack(server):
    """Of the start; what other tests then do to the same server is theirs."""
    lines = server.log.split("To see the GUI go to")[0].splitlines()
    assert any("Import times for custom nodes" in line for line in lines), "the log is not what this test expects"
    complaints = [line for line in lines if re.search(r"\[(WARNING|ERROR)\]", line) and PACK_NAME in line.lower()]
    assert complaints == []
    assert not any("IMPORT FAILED" in line for line in lines)


def test_import_takes_less_than_a_second_by_the_hosts_own_clock(server):
    """The best of up to three starts: what else the machine does can only add to it."""
    best = import_seconds(server.log)
    for _ in range(2):
        if best >= 1.0:
            with Server(server.host) as another:
                best = min(best, import_seconds(another.log))
    assert best < 1.0


def import_seconds(log):
    found = re.search(rf"([\d.]+) seconds: .*custom_nodes.{PACK_NAME}$", log, re.MULTILINE)
    assert found is not None
    return float(found.group(1))


def test_every_node_is_served_by_the_pack(our_nodes):
    assert our_nodes, "the pack has no nodes"
    for node_id, definition in our_nodes.items():
        assert definition is not None, f"{node_id} is not in /object_info"
        assert definition["python_module"] == f"custom_nodes.{PACK_NAME}"


def test_every_node_and_input_explains_itself(our_nodes):
    for node_id, definition in our_nodes.items():
        assert definition["display_name"], node_id
        assert definition["description"], node_id
        assert definition["search_aliases"], node_id
        assert definition["category"].split("/")[0] == "X2Edit", node_id
        silent = [name for name, spec in inputs_of(definition).items() if not spec[1].get("tooltip")]
        assert silent == [], f"{node_id}: inputs without a tooltip"
        assert all(definition["output_tooltips"] or []), f"{node_id}: outputs without a tooltip"


def test_module_has_no_v1_mapping(pack):
    """An empty one would hide every V3 node from the host."""
    assert not hasattr(pack.root, "NODE_CLASS_MAPPINGS")


IMPORT_PROBE = """
import builtins, socket, sys, subprocess
sys.path.append(sys.argv[1])
from pathlib import Path
from devkit import inprocess
inprocess.prepare(Path(sys.argv[2]), Path(sys.argv[3]))
import nodes, execution, torch
def snapshot():
    names = ("comfy", "nodes", "execution", "folder_paths", "latent_preview", "torch.nn.modules.linear")
    return {(m, k): id(v) for m, mod in list(sys.modules.items()) if m.split(".")[0] in names or m in names
            for k, v in list(vars(mod).items()) if callable(v)}
before = snapshot()
asked, import_ = set(), builtins.__import__
def watch(name, globals=None, locals=None, fromlist=(), level=0):
    if "custom_nodes" in ((globals or {}).get("__name__") or "") and level == 0:
        asked.add(name.split(".")[0])
    return import_(name, globals, locals, fromlist, level)
builtins.__import__ = watch
def refuse(*args, **kwargs):
    raise SystemExit("the pack opened a connection or started a process at import")
socket.socket.connect = refuse
subprocess.Popen.__init__ = refuse
inprocess.Pack(Path(sys.argv[3]))
after = snapshot()
changed = [key for key, value in before.items() if after.get(key) != value]
assert not changed, f"importing the pack replaced host functions: {changed}"
assert not torch.cuda.is_initialized()
print(*sorted(asked))
"""


def test_import_leaves_the_host_alone_and_loads_nothing_heavy():
    import folder_paths

    comfyui = Path(folder_paths.__file__).parent
    with tempfile.TemporaryDirectory() as base:
        command = [sys.executable, "-c", IMPORT_PROBE, str(REPO / "tools"), str(comfyui), base]
        result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=base)
    assert result.returncode == 0, result.stderr
    imported = set(result.stdout.splitlines()[-1].split())
    assert "comfy_api" in imported, "the probe saw none of the pack's imports"
    assert imported.isdisjoint({"transformers", "huggingface_hub", "diffusers", "requests", "aiohttp", "subprocess"})


def test_graph_runs_to_a_picture_and_reports_its_steps(server):
    seen = []
    result = server.run(sampling(steps=3), seen.append)
    assert result.image().startswith(b"\x89PNG")
    assert [p.node_id for p in seen if p.total == 0 and p.node_id in ("sampler", "save")] == ["sampler", "save"]
    assert (seen_steps := [p.value for p in seen if p.node_id == "sampler" and p.total == 3]), "no step was reported"
    assert seen_steps[-1] == 3


def test_refused_graph_names_the_node(server):
    with pytest.raises(PromptError, match="steps") as caught:
        server.run(sampling(steps="many"))
    assert (caught.value.node_id, caught.value.node_class) == ("sampler", "KSampler")


def test_failed_graph_names_the_node(server):
    graph = sampling()
    graph["sampler"]["inputs"]["latent_image"] = ["broken", 0]
    graph["broken"] = {
        "class_type": "LatentFromBatch",
        "inputs": {"samples": ["latent", 0], "batch_index": 0, "length": 1},
    }
    graph["latent"] = {"class_type": "EmptyHunyuanLatentVideo",
                       "inputs": {"width": 64, "height": 64, "length": 5, "batch_size": 1}}  # fmt: skip
    with pytest.raises(PromptError) as caught:
        server.run(graph)
    assert caught.value.node_class == "KSampler"


def test_interrupt_stops_within_the_run_and_the_next_one_is_whole(server):
    def stop(progress):
        if progress.node_id == "sampler":
            server.interrupt()

    with pytest.raises(PromptInterrupted):
        server.run(sampling(steps=2000, seed=2), stop)
    assert server.run(sampling(seed=3)).images


def test_free_is_accepted_and_the_graph_runs_again(server):
    first = server.run(sampling(seed=4)).image()
    server.free()
    assert server.run(sampling(seed=4, steps=2)).image() == first


def test_uploaded_picture_comes_back(server, tmp_path):
    from PIL import Image

    Image.new("RGB", (32, 16), (200, 30, 10)).save(tmp_path / "flat.png")
    name = server.upload_image(tmp_path / "flat.png")
    graph = {
        "load": {"class_type": "LoadImage", "inputs": {"image": name}},
        "save": {"class_type": "SaveImage", "inputs": {"images": ["load", 0], "filename_prefix": "back"}},
    }
    (tmp_path / "back.png").write_bytes(server.run(graph).image())
    assert Image.open(tmp_path / "back.png").convert("RGB").getcolors() == [(512, (200, 30, 10))]
