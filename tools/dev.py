#!/usr/bin/env python3
"""One entry point for everything around the code: host | demo | test | serve | bench | graph.

Needs only Python 3.10 or newer; installs the pinned ComfyUI into a cache folder on first use. Written for Linux,
macOS and Windows; run so far on Linux only.
"""

from __future__ import annotations

import argparse
import sys

from devkit import pins
from devkit.host import DevError, find_host


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    host = commands.add_parser("host")
    host.add_argument("--version", default=pins.DEFAULT_HOST)
    host.add_argument("--json", action="store_true")
    args = parser.parse_args()
    try:
        print(find_host(args.version).to_json())
        return 0
    except DevError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
