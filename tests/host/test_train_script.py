"""Twenty steps and fewer through the script, of every kind, on the host's FLUX and scenes drawn for it."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys

import pytest
import torch
from devkit.layout import REPO
from PIL import Image

KINDS = ["x2edit", "moe", "lora", "icedit", "icedit_moe", "base"]
BASES = {"base": "", "icedit": "demo:fill", "icedit_moe": "demo:fill"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("scenes")


def config_text(folder, cache, kind, steps=4, **changes):
    """TOML of a run of a few steps on 32 px scenes."""
    tables = {
        "": {"kind": kind, "output": str(folder), "steps": steps, "batch": 4, "log_every": 2, "save_every": 100},
        "model": {
            "base": BASES.get(kind, "demo:x2edit"),
            "precision": "float32",
            "train_text": kind == "base",
        },
        "flux": {"hidden": 128, "double": 1, "single": 1, "context": 32, "pooled": 16},
        "adapter": {"experts": 4, "rank": 2},
        "data": {"cache": str(cache), "cases": 12, "pictures": 4, "size": 32, "workers": 0},
        "loss": {"contrast": 0.2 if kind == "x2edit" else 0.0},
        "optim": {"rate": 0.01, "ema": 0.5},
    }
    for name, value in changes.items():
        table, _, key = name.rpartition("__")
        tables[table][key] = value
    lines = []
    for table, values in tables.items():
        lines += [f"[{table}]"] if table else []
        lines += [f"{key} = {_toml(value)}" for key, value in values.items()]
    if kind == "base":
        lines += ["[data.mix]", "edit = 1", "copy = 1", "picture = 1"]
    return "\n".join(lines)


def _toml(value):
    return str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')


def run_script(pack, folder, text, *flags):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "wanted.toml"
    path.write_text(text)
    return pack.core("train.__main__").main([str(path), *flags])


def losses_of(folder):
    with (folder / "losses.csv").open() as file:
        return [(row["step"], row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_trains_and_its_result_loads(pack, tmp_path, cache, kind):
    changes = {"adapter__top_k": 1} if kind == "icedit_moe" else {}
    assert run_script(pack, tmp_path, config_text(tmp_path, cache, kind, **changes)) == 0
    assert len(losses_of(tmp_path)) == 4
    if kind == "base":
        import comfy.sd

        model = comfy.sd.load_diffusion_model(str(tmp_path / "base.safetensors"))
        assert model.get_model_object("diffusion_model").hidden_size == 128
        assert (tmp_path / "text.safetensors").exists()
        return
    adapter = pack.core("adapters.checkpoint").load_adapter(tmp_path / "adapter.safetensors")
    assert adapter.task_aware == (kind == "x2edit")
    assert adapter.spec.experts == (0 if kind in ("lora", "icedit") else 4)
    assert all(delta.up.any() for delta in adapter.deltas), "every site has learnt something"
    assert (tmp_path / "released").exists() == (kind != "lora")
    if kind != "lora":
        released = pack.core("adapters.checkpoint").load_adapter(tmp_path / "released")
        assert all(
            torch.equal(one.up, other.up.to(torch.bfloat16))
            for one, other in zip(released.deltas, adapter.deltas, strict=True)
        )


def test_a_run_in_two_pieces_is_the_run_in_one(pack, tmp_path, cache):
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    run_script(pack, whole, config_text(whole, cache, "x2edit", steps=6))
    for steps in (3, 6):
        run_script(pack, pieces, config_text(pieces, cache, "x2edit", steps=steps))
    assert losses_of(pieces) == losses_of(whole)
    load = pack.core("adapters.checkpoint").load_adapter
    one, other = (load(folder / "adapter.safetensors").state_dict() for folder in (whole, pieces))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_bfloat16_and_checkpointing_learn_alike(pack, tmp_path, cache):
    changed = {"model__gradient_checkpointing": True, "model__precision": "bfloat16"}
    losses = []
    for name, changes in (("plain", {}), ("lean", changed)):
        run_script(pack, tmp_path / name, config_text(tmp_path / name, cache, "moe", **changes))
        losses.append([float(loss) for _, loss in losses_of(tmp_path / name)])
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_an_offloaded_base_gives_the_same_losses(pack, tmp_path, cache):
    for weights in ("default", "offload"):
        folder = tmp_path / weights
        assert run_script(pack, folder, config_text(folder, cache, "x2edit", model__weights=weights)) == 0
    assert losses_of(tmp_path / "offload") == losses_of(tmp_path / "default")


def test_pictures_of_ones_own_train_and_what_they_are_is_told(pack, tmp_path, cache, caplog):
    """Two folders as another system wrote them, with a mark in the words, beside a copy that a notebook left."""
    for part, shade in (("Source", 60), ("Target", 200)):
        for folder in (part, f"{part}/.ipynb_checkpoints"):
            (tmp_path / "data" / folder).mkdir(parents=True)
            for name in ("a.PNG", "b.tiff"):
                Image.new("RGB", (40, 40), (shade, 0, 0)).save(tmp_path / "data" / folder / name)
    (tmp_path / "data" / "a.txt").write_text("make it red\ncolor", encoding="utf-8-sig")
    (tmp_path / "data" / "b.txt").write_text("把它变成红色", encoding="utf-16")
    pasted = f" '{(tmp_path / 'data').as_posix()}' "
    text = config_text(tmp_path / "run", cache, "lora", steps=2, data__kind="folder", data__cache="")
    text = text.replace('kind = "folder"', f'kind = "folder"\npath = "{pasted}"')
    with caplog.at_level("INFO"):
        assert run_script(pack, tmp_path, text) == 0
    assert len(losses_of(tmp_path / "run")) == 2
    assert f"data: 2 pairs of kind folder at {tmp_path / 'data'}" in caplog.text
    assert "1 named by the data, 1 read from the words by rules" in caplog.text


def test_a_dry_run_prints_the_whole_configuration_and_touches_nothing(pack, tmp_path, cache, capsys):
    folder = tmp_path / "run"
    assert run_script(pack, tmp_path, config_text(folder, cache, "x2edit"), "--dry-run") == 0
    config = pack.core("train.config")
    printed = tmp_path / "printed.toml"
    printed.write_text(capsys.readouterr().out)
    assert config.load_config(printed) == config.load_config(tmp_path / "wanted.toml")
    assert not folder.exists()


def test_a_wrong_configuration_is_refused_with_every_fault(pack, tmp_path, cache, caplog):
    text = config_text(tmp_path, cache, "x2edit", data__sise=3, adapter__rank="two")
    assert run_script(pack, tmp_path, text) == 1
    assert "data.sise is not known" in caplog.text and "adapter.rank = 'two'" in caplog.text


def test_an_adapter_trains_on_a_base_of_ones_own_and_shows_samples(pack, tmp_path, cache):
    base, folder = tmp_path / "base", tmp_path / "adapter"
    run_script(pack, base, config_text(base, cache, "base"))
    changes = {"model__base": str(base / "base.safetensors"), "model__clip": [str(base / "text.safetensors")]}
    changes |= {"__sample_every": 2, "__sample_steps": 2}
    assert run_script(pack, folder, config_text(folder, cache, "x2edit", **changes)) == 0
    from PIL import Image

    sheets = sorted((folder / "samples").glob("*.png"))
    assert [sheet.stem for sheet in sheets] == ["step-0000002", "step-0000004"]
    assert Image.open(sheets[0]).size == (3 * 32, 4 * 32), "source, edit, target of four samples"


def test_one_base_learns_references_and_diptychs_and_is_written_as_both(pack, tmp_path, cache):
    text = config_text(tmp_path, cache, "base", steps=6, flux__fill=True, optim__name="muon")
    text += "\ndiptych = 1\ndiptych_copy = 1\n"
    assert run_script(pack, tmp_path, text) == 0
    import comfy.sd

    plain, fill = (
        comfy.sd.load_diffusion_model(str(tmp_path / f"{name}.safetensors")).model.diffusion_model.float()
        for name in ("base", "fill")
    )
    assert (plain.img_in.in_features, fill.img_in.in_features) == (64, 384)
    torch.manual_seed(0)
    noisy, context, pooled = torch.randn(1, 16, 4, 4), torch.randn(1, 24, 32), torch.randn(1, 16)
    masked = torch.cat((noisy, torch.zeros(1, 80, 4, 4)), 1)
    with torch.no_grad():
        found = fill(masked, torch.ones(1), context, pooled, None)
        expected = plain(noisy, torch.ones(1), context, pooled, None)
    assert expected.abs().max() > 0 and torch.allclose(found, expected, atol=1e-5)


def qwen_text(folder, cache, kind="base", **changes):
    """A run of a few steps that makes a Qwen-Image of one block, or an adapter for the embedded one."""
    base = {"model__base": "", "model__train_text": False} if kind == "base" else {"model__base": "demo:qwen"}
    text = config_text(folder, cache, kind, **{**base, "optim__name": "muon" if kind == "base" else "adamw", **changes})
    text = text.replace("picture = 1", "picture = 0")
    return text + "\n[qwen]\nblocks = 1\nhidden = 32\n" if kind == "base" else text


def test_a_small_qwen_image_is_made_and_goes_on_from_its_file(pack, tmp_path, cache):
    first, second = tmp_path / "first", tmp_path / "second"
    assert run_script(pack, first, qwen_text(first, cache)) == 0
    from safetensors.torch import load_file

    made = load_file(first / "base.safetensors")
    sizes = pack.core("miniature.qwen").sizes_of(made)
    assert sizes == pack.core("miniature.qwen").sizes(32, 1)
    assert made["proj_out.weight"].any() and made["transformer_blocks.0.attn.to_q.weight"].any()
    changes = {"model__base": str(first / "base.safetensors"), "optim__rate": 1e-9}
    assert run_script(pack, second, qwen_text(second, cache, steps=1, **changes)) == 0
    again = load_file(second / "base.safetensors")
    assert all(torch.equal(again[name], made[name]) for name in made), "it began with what the first run ended with"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model__precision": "bfloat16"}, "a new Qwen-Image is trained in float32"),
        ({"model__train_text": True}, "reads the shipped text encoder as it is"),
    ],
)
def test_what_a_new_qwen_image_cannot_do_is_refused(pack, tmp_path, cache, caplog, changes, said):
    assert run_script(pack, tmp_path, qwen_text(tmp_path, cache, **changes)) == 1
    assert said in caplog.text


def test_the_size_of_a_qwen_image_is_for_bases(pack, tmp_path, cache, caplog):
    text = qwen_text(tmp_path, cache, "x2edit") + "\n[qwen]\nblocks = 1\n"
    assert run_script(pack, tmp_path, text) == 1
    assert "qwen.blocks = 1 is for kind base" in caplog.text


def test_an_adapter_for_the_embedded_qwen_image_reads_bare_instructions(pack, tmp_path, cache, monkeypatch):
    """As its base did in training, and as X2Edit Qwen Text Encode gives them."""
    heard, embedded = [], pack.core("train.embedded").EmbeddedText
    forward = embedded.forward
    monkeypatch.setattr(embedded, "forward", lambda self, texts: (heard.extend(texts), forward(self, texts))[1])
    assert run_script(pack, tmp_path, qwen_text(tmp_path, cache, "x2edit")) == 0
    assert heard and not any("<|im_start|>" in text for text in heard)
    adapter = pack.core("adapters.checkpoint").load_adapter(tmp_path / "adapter.safetensors")
    assert adapter.spec.family == "qwen_image" and all(delta.up.any() for delta in adapter.deltas)


def test_diptych_modes_are_for_bases_with_the_channels_for_them(pack, tmp_path, cache, caplog):
    for kind, fill in (("base", False), ("icedit", True)):
        text = config_text(tmp_path, cache, kind, flux__fill=fill)
        text += ("" if kind == "base" else "\n[data.mix]") + "\ndiptych = 1\n"
        assert run_script(pack, tmp_path, text) == 1
        assert "data.mix.diptych is for kind base" in caplog.text
        caplog.clear()


def test_a_base_of_the_wrong_form_is_refused_in_words_before_anything_is_encoded(pack, tmp_path, cache, caplog):
    folder = tmp_path / "run"
    text = config_text(folder, tmp_path / "cache", "icedit", model__base="demo:x2edit")
    assert run_script(pack, tmp_path, text) == 1
    assert "FLUX.1 Fill has 96 channels; this base takes 16" in caplog.text
    assert not (tmp_path / "cache").exists() and not folder.exists()


@pytest.mark.parametrize(("device", "told"), [("tpu", "cpu, cuda, xpu or mps"), ("xpu", "ComfyUI computes on cpu")])
def test_a_device_that_is_not_there_is_no_reason_to_train_on_another(pack, tmp_path, cache, caplog, device, told):
    text = config_text(tmp_path / "run", cache, "lora", __device=device)
    assert run_script(pack, tmp_path, text) == 1
    assert told in caplog.text and not (tmp_path / "run").exists()


def test_prodigy_says_at_which_rate_it_learns(pack, tmp_path, cache, caplog):
    """The summary and the table show what takes effect, not the setting of 1."""
    pytest.importorskip("prodigyopt")
    caplog.set_level("INFO")
    text = config_text(tmp_path, cache, "lora", steps=12, optim__name="prodigy", optim__rate=1.0, optim__ema=0.0)
    assert run_script(pack, tmp_path, text) == 0
    assert "prodigy, rate 1, which prodigy begins at 1e-06 and adapts" in caplog.text
    with (tmp_path / "losses.csv").open() as file:
        rates = [float(row["rate"]) for row in csv.DictReader(file)]
    assert rates[0] == pytest.approx(1e-6) and max(rates) < 1e-3
    assert ("prodigy's step size never left its start" in caplog.text) == (rates[-1] == rates[0])


def test_a_run_begins_with_what_it_learns_from_and_ends_with_how_far_it_is(pack, tmp_path, cache, caplog):
    caplog.set_level("INFO")
    changes = {"loss__contrast": 0.2, "__batch": 1, "optim__warmup": 9}
    assert run_script(pack, tmp_path, config_text(tmp_path, cache, "x2edit", steps=6, **changes)) == 0
    for line in (
        "trained at: 32 × 32 (12)",
        "edit: 12 steps an epoch, 0.5 epochs in 6 steps",
        "adamw, rate 0.01; batch 1 × 1",
        "loss.contrast = 0.2 teaches nothing here",
        "optim.warmup = 9 is no shorter",
    ):
        assert line in caplog.text  # fmt: skip
    assert run_script(pack, tmp_path, config_text(tmp_path, cache, "x2edit", steps=3, **changes)) == 0
    assert "6 steps were done before and 3 are asked for, so nothing was trained" in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no such signal")
def test_a_run_that_is_terminated_keeps_its_last_step(tmp_path, cache):
    """As a scheduler or a shutdown does it, long before the first state is due."""
    folder = tmp_path / "run"
    config = tmp_path / "wanted.toml"
    config.write_text(config_text(folder, cache, "lora", steps=100000))
    command = [sys.executable, "-m", "x2edit_core.train", str(config)]
    with subprocess.Popen(command, cwd=REPO, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("step 4 "):
                process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    rows = len(losses_of(folder))
    assert [path.name for path in folder.glob("state-*.pt")] == [f"state-{rows:07d}.pt"] and rows >= 4
    assert (folder / "adapter.safetensors").exists()
