"""Where a Chromium is, for the tests that drive the host's real page."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Playwright keeps its own downloads here, newest revision last by name.
_PLAYWRIGHT = {
    "linux": ("~/.cache/ms-playwright", "chromium-*/chrome-linux*/chrome"),
    "darwin": ("~/Library/Caches/ms-playwright", "chromium-*/chrome-mac*/Chromium.app/Contents/MacOS/Chromium"),
    "win32": ("~/AppData/Local/ms-playwright", "chromium-*/chrome-win*/chrome.exe"),
}


def find_chromium() -> str | None:
    """`$CHROMIUM`, a system browser on the PATH, or the one that `playwright install` fetched; None if there is none."""
    if os.environ.get("CHROMIUM"):
        return os.environ["CHROMIUM"]
    for name in _NAMES:
        if found := shutil.which(name):
            return found
    folder, pattern = _PLAYWRIGHT.get(sys.platform, _PLAYWRIGHT["linux"])
    downloads = sorted(Path(folder).expanduser().glob(pattern))
    return str(downloads[-1]) if downloads else None
