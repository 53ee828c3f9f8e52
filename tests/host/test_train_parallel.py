"""The script in two processes on a CPU, as `accelerate launch` starts them: the losses and the result of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from .test_train_script import config_text, losses_of, run_script

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("parallel-scenes")


@pytest.fixture(scope="module")
def alone(pack, cache, tmp_path_factory):
    """The run of one process, for each kind once."""
    folders = {}

    def run(kind):
        if kind not in folders:
            folders[kind] = tmp_path_factory.mktemp(f"alone-{kind}")
            assert run_script(pack, folders[kind], config_text(folders[kind], cache, kind, steps=3)) == 0
        return folders[kind]

    return run


def started(launcher, folder, text):
    """Two processes that train, and what they said."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "wanted.toml").write_text(text)
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    command = [sys.executable, "-m", *launcher, "-m", "x2edit_core.train", str(folder / "wanted.toml")]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def launched(launcher, folder, text):
    done = started(launcher, folder, text)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stderr.count("3 of 3 steps done") == 2, "two processes trained"


ACCELERATE = ["accelerate.commands.launch", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no",
              "--dynamo_backend", "no", "--main_process_port", "0"]  # fmt: skip
DDP, FSDP2 = [*ACCELERATE, "--multi_gpu"], [*ACCELERATE, "--use_fsdp", "--fsdp_version", "2"]
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


@pytest.mark.parametrize(
    ("kind", "shard", "launcher", "checkpointing"),
    [
        ("x2edit", "none", DDP, False),
        ("x2edit", "none", FSDP2, True),
        ("x2edit", "all", TORCHRUN, False),
        ("base", "trained", TORCHRUN, False),
    ],
    ids=["ddp", "fsdp2-checkpointed", "fsdp2", "fsdp2-base"],
)
def test_two_processes_train_as_one(pack, alone, cache, tmp_path, kind, shard, launcher, checkpointing):
    if launcher is not TORCHRUN:
        pytest.importorskip("accelerate")
    changes = {"__shard": shard, "__device": "cpu", "model__gradient_checkpointing": checkpointing}
    launched(launcher, tmp_path, config_text(tmp_path, cache, kind, steps=3, **changes))
    one, other = ([float(loss) for _, loss in losses_of(folder)] for folder in (alone(kind), tmp_path))
    assert one == pytest.approx(other, rel=1e-4)
    if kind == "x2edit":
        load = pack.core("adapters.checkpoint").load_adapter
        first, second = (load(folder / "adapter.safetensors").state_dict() for folder in (alone(kind), tmp_path))
        for name, weight in first.items():
            torch.testing.assert_close(second[name], weight, rtol=1e-2, atol=2e-3)


LEANER = {
    "ddp": (DDP, {"__device": "cpu", "model__weights": "int8", "optim__moments": "8bit",
                  "model__gradient_checkpointing": True, "model__offload_checkpoints": True}),
    "fsdp2": (TORCHRUN, {"__shard": "trained", "__device": "cpu", "model__offload": True,
                         "model__gradient_checkpointing": True, "model__offload_checkpoints": True}),
}  # fmt: skip


@pytest.mark.parametrize("name", LEANER)
def test_two_processes_with_less_memory_train_as_one(pack, cache, tmp_path, name):
    launcher, changes = LEANER[name]
    for package in ("accelerate", "torchao") if launcher is DDP else ():
        pytest.importorskip(package)
    launched(launcher, tmp_path / "two", config_text(tmp_path / "two", cache, "x2edit", steps=3, **changes))
    single = {key: value for key, value in changes.items() if key != "__shard"}
    assert run_script(pack, tmp_path / "one", config_text(tmp_path / "one", cache, "x2edit", steps=3, **single)) == 0
    one, other = ([float(loss) for _, loss in losses_of(tmp_path / folder)] for folder in ("one", "two"))
    assert one == pytest.approx(other, rel=1e-3)


def test_steps_within_backward_are_refused_in_two_processes(cache, tmp_path):
    changes = {"__device": "cpu", "optim__fused_backward": True, "optim__clip": 0.0}
    done = started(TORCHRUN, tmp_path, config_text(tmp_path, cache, "lora", steps=3, **changes))
    assert done.returncode != 0 and "before the gradients of 2 processes could be averaged" in done.stderr
    assert not list(tmp_path.glob("state-*.pt"))
