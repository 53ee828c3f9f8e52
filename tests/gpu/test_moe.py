"""The routed delta on a device: the same numbers as on the CPU, no wait for the host, graph-capturable."""

from __future__ import annotations

import pytest
import torch

from x2edit_core.adapters.moe import RoutedDelta, Routing


def delta_and_input(dtype, device, tokens=512, width=256):
    torch.manual_seed(0)
    packed = 13 * 16
    delta = RoutedDelta(
        torch.randn(3 * (packed + 12), width) / width**0.5,
        torch.randn(36, width) / width**0.5,
        torch.randn(3, width, packed) / packed**0.5,
        experts=12,
        shared=True,
        routing=Routing(2),
    )
    return (
        delta.to(device, dtype),
        torch.randn(tokens, width).to(device, dtype),
        torch.randn(1, width).to(device, dtype),
    )


def run(delta, x, task):
    out = torch.zeros(x.shape[0], 3 * 256, dtype=x.dtype, device=x.device)
    hidden, gate = delta.hidden(x, delta.task_bias(task))
    delta.add_to(out, hidden, (0, 256, 512), 1.0)
    return out, gate


@torch.inference_mode()
def test_low_precision_gates_choose_as_float32_does(cuda):
    """Gate logits come out of the product in float32 (`out_dtype`), so selection equals the CPU's in float32."""
    delta, x, task = delta_and_input(torch.bfloat16, cuda)
    _, gate = run(delta, x, task)
    reference = run(delta.float().cpu(), x.float().cpu(), task.float().cpu())[1]
    assert gate.dtype == torch.float32
    torch.testing.assert_close(gate.cpu(), reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2), (torch.float16, 2e-3)])
@torch.inference_mode()
def test_device_and_cpu_agree(cuda, dtype, bound):
    delta, x, task = delta_and_input(dtype, cuda)
    found = run(delta, x, task)[0].float().cpu()
    expected = run(delta.float().cpu(), x.float().cpu(), task.float().cpu())[0]
    assert (found - expected).norm() / expected.norm() < bound


@torch.inference_mode()
def test_a_site_can_be_captured_in_a_graph(cuda):
    """Capture fails at any synchronisation, so this is the proof that there is none."""
    delta, x, task = delta_and_input(torch.bfloat16, cuda)
    bias, out = delta.task_bias(task), torch.zeros(x.shape[0], 3 * 256, dtype=x.dtype, device=cuda)

    def site():
        hidden, _ = delta.hidden(x, bias)
        delta.add_to(out, hidden, (0, 256, 512), 1.0)

    site()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        site()
    out.zero_()
    graph.replay()
    torch.testing.assert_close(out, run(delta, x, task)[0])
