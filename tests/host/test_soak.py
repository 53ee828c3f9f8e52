"""An hour of a shared server's life: the base stays what it was, memory, files and threads stay where they were.

`X2EDIT_SOAK_PROMPTS` and `X2EDIT_SOAK_SECONDS` make it shorter or longer, `X2EDIT_SOAK_SEED` another one. The figures are
printed and written to `.artifacts/soak.json`.
"""

from __future__ import annotations

import json
import os
import sys

import pytest
import torch
from devkit.host import Host
from devkit.layout import REPO
from devkit.server import Server

from .soak import WARM_UP, Figures, Soak

PROMPTS = int(os.environ.get("X2EDIT_SOAK_PROMPTS", "500"))
SECONDS = float(os.environ.get("X2EDIT_SOAK_SECONDS", "3600"))
SEED = int(os.environ.get("X2EDIT_SOAK_SEED", "0"))
MOST_GROWTH_MB = 1.0
ENOUGH = 100
"""Measured prompts from which a slope says more about growth than about single prompts."""


@pytest.mark.full
@pytest.mark.timeout(SECONDS + 1800)
def test_a_server_under_load_and_faults_stays_as_it_was(pack, capsys):
    with Server(Host(os.environ["COMFYUI_PATH"], sys.executable, "")) as server:
        soak = Soak(server, SEED)
        try:
            soak.keep_adapter(pack.core("miniature").EMBEDDED["embedded: x2edit"])
            before = soak.base_latent()
            figures = soak.run(PROMPTS, SECONDS)
            after = soak.base_latent()
        finally:
            soak.close()
    warm_up = min(WARM_UP, len(figures.resident_mb) // 2)
    found = figures.summary(warm_up)
    (REPO / ".artifacts").mkdir(exist_ok=True)
    (REPO / ".artifacts" / "soak.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    with capsys.disabled():
        print("\n" + json.dumps(found))
    assert torch.equal(before, after), "the base is bit-equal"
    assert torch.isfinite(before).all() and before.std() > 0
    assert not found["unanswered"]
    assert not found["endings"].get("nan latent: success"), "a picture of no numbers was delivered"
    assert found["files"][-1] <= found["files"][0] and found["threads"][-1] <= found["threads"][0]
    if len(figures.resident_mb) - warm_up >= ENOUGH:
        assert found["growth_mb_per_hundred"] <= MOST_GROWTH_MB


def test_growth_is_found_and_single_peaks_are_not():
    level = [500.0 + 40 * (number % 7 == 0) for number in range(250)]
    assert Figures(resident_mb=level).growth_mb_per_hundred() == pytest.approx(0, abs=0.1)
    assert (
        Figures(resident_mb=[value + number / 50 for number, value in enumerate(level)]).growth_mb_per_hundred() > 1.5
    )
