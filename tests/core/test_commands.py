"""Commands by module name, today's and earlier ones, start."""

from __future__ import annotations

import subprocess
import sys

import pytest
from devkit.layout import REPO

COMMANDS = (
    "x2edit_core.train",
    "x2edit_core.train.draw",
    "x2edit_core.evaluate",
    "x2edit_core.dataset",
    "x2edit_core.miniature.train_autoencoder",
    "x2edit_core.demo.train_autoencoder",
)


@pytest.mark.parametrize("name", COMMANDS)
def test_command_starts_and_explains_itself(name):
    done = subprocess.run([sys.executable, "-m", name, "--help"], cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout
