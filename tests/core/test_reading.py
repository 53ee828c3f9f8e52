"""What reading an adapter costs, and what becomes of a file that others write to meanwhile."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch
from bench.measure import OperatorCount
from safetensors.torch import save_file

from x2edit_core.adapters.checkpoint import load_adapter, save_adapter
from x2edit_core.errors import CheckpointError
from x2edit_core.files import TensorFile, not_finite, not_finite_parts

from .models import random_adapter, released_tensors, write_released

KEY = "single_transformer_blocks.0.attn.processor.v_moe_lora.experts.2.up.weight"


@pytest.mark.parametrize("layout", ["released", "own"])
def test_values_are_checked_by_one_reduction_a_packed_tensor(tmp_path, layout):
    path = write_released(tmp_path / "released")
    if layout == "own":
        path = tmp_path / "own.safetensors"
        save_adapter(load_adapter(tmp_path / "released"), path)
    with OperatorCount() as count:
        adapter = load_adapter(path)
    reductions = [name for name in count.kernels if name.startswith(("aten.sum", "aten.isfinite", "aten.abs"))]
    assert reductions == ["aten.sum.default"] * len(list(adapter.parameters()))


@pytest.mark.parametrize("values", [(float("nan"),), (float("-inf"),), (float("inf"), float("-inf"))])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_what_is_no_number_is_counted_where_it_lies(tmp_path, values, dtype):
    tensors = {key: tensor.to(dtype) for key, tensor in released_tensors().items()}
    tensors[KEY][3, : len(values)] = torch.tensor(values, dtype=dtype)
    with pytest.raises(CheckpointError) as caught:
        load_adapter(write_released(tmp_path, tensors))
    assert caught.value.problems == [f"{KEY} holds {len(values)} NaN or infinite values"]


def test_numbers_too_large_to_be_summed_are_numbers(tmp_path):
    tensors = {key: torch.full_like(tensor, 6e4, dtype=torch.float16) for key, tensor in released_tensors().items()}
    adapter = load_adapter(write_released(tmp_path, tensors))
    assert not adapter.delta(0).up.sum().isfinite() and bool((adapter.delta(0).up == torch.tensor(6e4).half()).all())


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_eight_bit_kinds_are_looked_into(dtype):
    tensor = torch.ones(4, 4).to(dtype)
    assert not_finite("x", tensor) == []
    tensor[1, 1] = float("nan")
    assert not_finite("x", tensor) == ["x holds 1 NaN or infinite values"]
    assert not_finite_parts([tensor], {"a": torch.ones(2), "b": tensor}) == ["b holds 1 NaN or infinite values"]
    assert not_finite_parts([torch.tensor([3])], {"b": tensor}) == [], "whole numbers are numbers"


def _large(folder, value, count=32):
    """A file of tensors of half a million bytes each."""
    path = folder / "large.safetensors"
    save_file({f"t{index:02}": torch.full((128, 1024), value) for index in range(count)}, path)
    return path


@pytest.mark.parametrize("how", ["in its place", "by another"])
def test_a_file_that_changes_while_it_is_read_is_not_mixed(tmp_path, how):
    file = TensorFile(_large(tmp_path, 1.0))
    assert file.tensor("t00").sum() == 128 * 1024
    (tmp_path / "new").mkdir()
    other = _large(tmp_path / "new", 22.0, 33)
    if how == "by another":
        other.replace(file.path)
    else:
        shutil.copyfile(other, file.path)
    with pytest.raises(CheckpointError, match="changed while it was being read"):
        for key in sorted(file.names()):
            file.tensor(key)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells what is mapped")
def test_what_was_read_and_dropped_is_given_back(tmp_path):
    file = TensorFile(_large(tmp_path, 1.0))
    most = 0
    for key in sorted(file.names()):
        file.tensor(key).sum()
        most = max(most, _resident(file.path))
    size = file.path.stat().st_size
    assert size / 32 < most < size / 3, "an eighth, one tensor more, and what the system read ahead"


def _resident(path):
    """Bytes of `path` in this process's memory, over all its mappings."""
    total, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head = line.split(maxsplit=5)
        if "-" in head[0] and not head[0].endswith(":"):
            ours = len(head) == 6 and head[5] == str(path)
        elif ours and head[0] == "Rss:":
            total += int(head[1]) * 1024
    return total


@pytest.mark.skipif(sys.platform == "win32", reason="no file that is mapped can be written to")
def test_an_adapter_in_memory_does_not_follow_its_file(tmp_path):
    path = tmp_path / "own.safetensors"
    save_adapter(random_adapter(), path)
    adapter = load_adapter(path)
    before = [parameter.clone() for parameter in adapter.parameters()]
    with path.open("r+b") as file:
        file.seek(-4096, 2)
        file.write(bytes(4096))
    assert all(torch.equal(old, new) for old, new in zip(before, adapter.parameters(), strict=True))
