"""What the pack needs of the host is asked for at use: a symbol that is gone stops one node with one message, no more."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from devkit import pins, records

from .capabilities import CAPABILITIES
from .graphs import conditioning, velocity

REPO = Path(__file__).resolve().parents[2]
BRIDGE = sorted((REPO / "x2edit_core" / "comfy_bridge").glob("*.py"))
SCHEMA_WORDS = {("comfy.samplers", "SAMPLER_NAMES"), ("comfy.samplers", "SCHEDULER_NAMES")}
"""The lists of choices that a schema shows are read when the pack loads; nothing else is."""


def chains() -> set[tuple[str, ...]]:
    """Every dotted use of the host in the bridge, such as ("comfy", "ops", "manual_cast")."""
    found = set()
    for path in BRIDGE:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = []
            while isinstance(node, ast.Attribute):
                names.append(node.attr)
                node = node.value
            if names and isinstance(node, ast.Name) and node.id in ("comfy", "latent_preview"):
                found.add((node.id, *reversed(names)))
    return found


def symbols() -> set[tuple[str, str]]:
    """(module, symbol) of every use; whole modules are left out."""
    found = set()
    for chain in chains():
        module, rest = chain[0], list(chain[1:])
        while rest and _is_module(f"{module}.{rest[0]}"):
            module = f"{module}.{rest.pop(0)}"
        if rest and rest[0] != "offers":
            found.add((module, rest[0]))
    return found


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def asked_for() -> set[str]:
    """What the bridge asks the host whether it has: `comfy.offers("…")`."""
    calls = (node for path in BRIDGE for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    return {
        f"comfy.{node.args[0].value}"
        for node in calls
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "comfy.offers"
        and isinstance(node.args[0], ast.Constant)
    }


def test_every_symbol_is_there_or_asked_for():
    used = symbols()
    assert len(used) > 40
    missing = {f"{module}.{name}" for module, name in used if not hasattr(importlib.import_module(module), name)}
    assert missing <= asked_for()


def test_the_pinned_host_can_do_everything():
    version = importlib.import_module("comfyui_version").__version__
    lacking = [name for name, capability in CAPABILITIES.items() if not capability.there()]
    assert version != pins.DEFAULT_HOST or not lacking


def test_the_pack_loads_on_a_host_that_lost_every_symbol(tmp_path):
    script = f"""
import json, sys
sys.path[:] = [entry for entry in sys.path if entry]
sys.path.append({str(REPO / "tools")!r})
from pathlib import Path
from devkit import inprocess
inprocess.prepare(Path({str(Path(importlib.import_module("folder_paths").__file__).parent)!r}), Path({str(tmp_path)!r}))
import importlib, nodes
for module, name in {sorted(symbols() - SCHEMA_WORDS)!r}:
    found = importlib.import_module(module)
    if hasattr(found, name):
        delattr(found, name)
print(json.dumps(inprocess.Pack(Path({str(tmp_path)!r})).node_ids))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    recorded = json.loads(records.CONTRACT.read_text(encoding="utf-8"))
    assert json.loads(result.stdout.splitlines()[-1]) == sorted(recorded)


@pytest.fixture(scope="module")
def base(pack):
    return pack.run("X2EditDemoModels", base="x2edit")[0]


@pytest.fixture
def evaluate(base):
    """The velocity of a batch of two, of a model made from `base`, with a reference or none."""
    widths = base.model.model_config.unet_config
    text, pooled = torch.randn(2, 6, widths["context_in_dim"]), torch.randn(2, widths["vec_in_dim"])
    noise = torch.randn(2, 16, 8, 8)

    def run(model, prepare=lambda plain: plain):
        return velocity(model, prepare(conditioning(text, pooled)), noise, 0.7)

    return run


@pytest.fixture
def edit(pack, base, evaluate):
    """One evaluation with an adapter and a reference."""
    (adapter,) = pack.run("X2EditAdapterLoader", adapter_name="embedded: x2edit")
    reference = torch.randn(2, 16, 8, 8)

    def run():
        (task,) = pack.run("X2EditTask", task="style")
        (model,) = pack.run("X2EditApply", model=base, adapter=adapter, task=task)
        return evaluate(model, lambda plain: pack.core("comfy_bridge.pictures").add_reference(plain, reference))

    return run


@pytest.mark.parametrize(
    ("module", "symbol"),
    [("comfy.ldm.flux.layers", "timestep_embedding"), ("comfy.weight_adapter.lora", "LoRAAdapter")],
)
def test_a_lost_symbol_is_one_clear_error_where_it_is_used(pack, base, evaluate, edit, monkeypatch, module, symbol):
    before = evaluate(base)
    monkeypatch.delattr(f"{module}.{symbol}")
    with pytest.raises(pack.core("errors").HostError, match=rf"no {module}\.{symbol}.*Update"):
        edit()
    assert torch.equal(evaluate(base), before), "other graphs go on"


def test_a_lost_symbol_stops_its_own_node_alone(pack, edit, monkeypatch):
    monkeypatch.delattr("comfy.taesd.taesd.TAESD")
    with pytest.raises(pack.core("errors").HostError, match=r"no comfy\.taesd\.taesd\.TAESD"):
        pack.run("X2EditDemoModels", base="x2edit")
    assert bool(edit().isfinite().all())


def test_a_changed_signature_is_one_clear_error(pack, base, evaluate, edit, monkeypatch):
    layers = importlib.import_module("comfy.ldm.flux.layers")
    whole, before = layers.SingleStreamBlock.forward, evaluate(base)

    def forward(self, x, vec, pe, attn_mask=None, transformer_options=None):
        return whole(self, x, vec, pe, attn_mask, transformer_options=transformer_options or {})

    forward.__qualname__ = whole.__qualname__
    monkeypatch.setattr(layers.SingleStreamBlock, "forward", forward)
    with pytest.raises(pack.core("errors").HostError, match=r"SingleStreamBlock\.forward\(modulation_dims\) is gone"):
        edit()
    assert torch.equal(evaluate(base), before), "other graphs go on"


def test_blocks_that_drop_the_rows_axis_edit_the_same(edit, monkeypatch):
    """Older hosts index a row of the modulation without keeping its axis, which mixes rows with tokens."""

    def older(tensor, m_mult, m_add=None, modulation_dims=None):
        if modulation_dims is None:
            return tensor * m_mult if m_add is None else torch.addcmul(m_add, tensor, m_mult)
        for start, end, row in modulation_dims:
            tensor[:, start:end] *= m_mult[:, row]
            if m_add is not None:
                tensor[:, start:end] += m_add[:, row]
        return tensor

    expected = edit()
    monkeypatch.setattr("comfy.ldm.flux.layers.apply_mod", older)
    assert torch.equal(edit(), expected)


def test_without_attention_patches_the_way_without_an_adapter_is_refused(pack, monkeypatch):
    layers = importlib.import_module("comfy.ldm.flux.layers")
    monkeypatch.setattr(layers.SingleStreamBlock, "forward", lambda self, x, vec, modulation_dims: x)
    model, _, vae = pack.run("X2EditDemoModels", base="x2edit")
    with pytest.raises(pack.core("errors").HostError, match=r"attn1_patch in its (Double|Single)StreamBlock.*Update"):
        pack.run("ICEditInvert", model=model, vae=vae, image=torch.rand(1, 64, 64, 3), steps=2, width=64)


def test_without_ordered_features_a_picture_is_refused(pack, monkeypatch):
    monkeypatch.delattr("comfy.text_encoders.qwen_vl.qwen2vl_mrope_position_ids", raising=False)
    with pytest.raises(pack.core("errors").HostError, match="out of order"):
        pack.core("comfy_bridge.host").require_ordered_vision()
